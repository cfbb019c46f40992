"""The program that the modules of commands add to."""

from typing import Annotated

import typer

from kneeal import __version__

app = typer.Typer(
    name="kneeal",
    help="Grade knee osteoarthritis on radiographs with few expert labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kneeal {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass
