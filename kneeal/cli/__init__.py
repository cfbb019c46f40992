"""The command line. Thin: everything heavy is imported inside the command that needs it.

One module for each family of commands; importing it adds them.
"""

import os
import sys

from kneeal.cli import annotate, ask, fit, listing, predict, prepare, pretrain, report, stopping, study  # noqa: F401
from kneeal.cli.program import app
from kneeal.errors import UserError
from kneeal.jobs.signals import exit_on_signals, run_and_exit


def main() -> None:
    """What the process of a command does."""
    run_and_exit(run)


def run() -> None:
    """Run a command; a user's mistake is one message and exit status 2, a signal n means status 128 + n."""
    try:
        with exit_on_signals(_how_to_go_on(sys.argv[1:])):
            app()
    except UserError as error:
        # Lightning runs this command once more for every further device; one message is enough.
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"kneeal: {error}", file=sys.stderr)
        sys.exit(2)


def _how_to_go_on(arguments: list[str]) -> str:
    """What to do once a command was stopped."""
    command = next((a for a in arguments if not a.startswith("-")), "")
    if command == "fit" and "--resume" not in arguments:
        return "give the same command with --resume to go on from the last finished round"
    if command in ("fit", "study", "ask", "annotate", "prepare"):
        return "give the same command again to go on; what is finished is kept"
    return "nothing is left half-written; give the same command again"
