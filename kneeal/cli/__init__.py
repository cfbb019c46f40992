"""The command line. Thin: everything heavy is imported inside the command that needs it.

One module for each family of commands; importing it adds them.
"""

import sys
from typing import Any

import typer

# In the order of the help.
from kneeal.cli import prepare, fit, report, study, annotate, predict  # noqa: F401  # isort: skip
from kneeal.cli.program import app
from kneeal.errors import UserError
from kneeal.jobs.process import exit_on_signals, print_once, run_and_exit

#: Typer's error for a wrong command line; it brings its own copy of Click, or, before 0.20, imports Click.
UsageError: Any = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line as all that a process does."""
    run_and_exit(run)


def run() -> None:
    """Run a command; a user's mistake is one message and exit status 2, a signal n means status 128 + n."""
    try:
        with exit_on_signals(_how_to_continue(sys.argv[1:])):
            try:
                sys.exit(app(prog_name="kneeal", standalone_mode=False))
            except UsageError as error:
                raise _explained(error) from error
    except UserError as error:
        print_once(error)
        sys.exit(2)


def _explained(error: Any) -> UserError:
    """The error for what Typer refuses, with the command's usage and example."""
    if type(error).show is not UsageError.show:  # a family of commands alone, whose message is its help
        error.show()
        sys.exit(error.exit_code)
    found, context = error.format_message().rstrip("."), error.ctx
    if context is None:
        return UserError(found, "kneeal COMMAND [OPTIONS]", "see `kneeal -h`")
    usage = " ".join(context.get_usage().removeprefix("Usage: ").split())
    example = (context.command.epilog or "").partition("Example: ")[2]
    cure = f"see `{context.command_path} -h`" + (f"; for example `{example}`" if example else "")
    return UserError(found, usage, cure)


def _how_to_continue(arguments: list[str]) -> str:
    """How to continue a command that was stopped."""
    command = next((a for a in arguments if not a.startswith("-")), "")
    if command == "fit" and "--resume" not in arguments:
        return "repeat the command with --resume to continue from the last finished round"
    if command in ("fit", "study", "ask", "annotate", "prepare"):
        return "repeat the command to continue; finished work is kept"
    return "nothing is left half-written; repeat the command"
