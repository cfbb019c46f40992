"""`kneeal annotate` and `kneeal readers`: the web page for readers, and who they are."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from kneeal.annotate.options import ReaderChanges, ServeOptions
from kneeal.cli.program import app, with_option_groups
from kneeal.errors import count, extra


@app.command(epilog="Example: kneeal annotate RUN --images radiographs --reader 'Dr Ann' --auto")
@with_option_groups
def annotate(
    run: Annotated[Path, Argument(help="Run folder, begun by `kneeal ask`.", metavar="RUN")],
    options: ServeOptions,
    link: Annotated[str | None, Option(help="Print a one-time link for this reader, and exit.", metavar="NAME")] = None,
    backup: Annotated[Path | None, Option(help="Copy the store to this file, and exit.")] = None,
    table: Annotated[Path | None, Option(help="Write all readings to this CSV, and exit.")] = None,
) -> None:
    """Grade the queried knees in a browser. With --auto, round after round."""
    with extra("annotate", "reading in a browser"):
        from kneeal.annotate import serve

    if link is not None:
        print(serve.new_link(run, link, options))
    if backup is not None:
        n = serve.back_up(run, backup)
        print(f"copied {count(n, 'answer')} to {backup}" + ("" if n else ": nobody has graded a knee yet"))
    if table is not None:
        print(f"wrote {count(serve.write_readings(run, table), 'answer')} to {table}")
    if link is None and backup is None and table is None:
        serve.serve(run, options)


@app.command()
@with_option_groups
def readers(
    run: Annotated[Path, Argument(help="Run folder that was annotated.", metavar="RUN")],
    changes: ReaderChanges,
    yes: Annotated[bool, Option("--yes", help="Make the change; without it, only say what it would do.")] = False,
) -> None:
    """Show or change who reads. This also works while the page is served."""
    from kneeal.annotate.accounts import manage_readers

    print(manage_readers(run, changes, dry=not yes))
