"""`kneeal annotate` and `kneeal readers`: the web page for readers, and who they are."""

from pathlib import Path
from typing import Annotated

import typer

from kneeal.cli.program import app
from kneeal.errors import extra


@app.command(epilog="Example: kneeal annotate RUN --images radiographs --reader 'Dr Ann' --auto")
def annotate(
    run: Annotated[Path, typer.Argument(help="Run folder, begun by `kneeal ask`.", metavar="RUN")],
    reader: Annotated[
        list[str] | None,
        typer.Option(help="Name of a reader, any number of times; at the first start.", metavar="NAME"),
    ] = None,
    adjudicator: Annotated[
        list[str] | None,
        typer.Option(
            help="Who decides where readings differ and reads nothing herself, unless named with --reader too."
            " By default the first reader, when all readings are in.",
            metavar="NAME",
        ),
    ] = None,
    reads: Annotated[int | None, typer.Option(help="Readers that each knee needs.  [default: 1]")] = None,
    repeat: Annotated[
        float | None, typer.Option(help="Share of the knees that a reader silently gets twice.  [default: 0]")
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="Train and choose the next knees when all are answered.")
    ] = False,
    enough: Annotated[
        float, typer.Option(help="Share of the knees that is enough for --auto; the rest comes with the next ones.")
    ] = 1.0,
    images: Annotated[Path | None, typer.Option(help="Folder that the data set was prepared from.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data set, where it has moved.")] = None,
    atlas: Annotated[
        Path | None, typer.Option(help="Folder with your own examples; each file name begins with its grade.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8010,
    public_url: Annotated[
        str | None, typer.Option(help="Address of the reverse proxy, for example https://reading.hospital.example.")
    ] = None,
    link: Annotated[
        str | None, typer.Option(help="Print a one-time link for this reader, and exit.", metavar="NAME")
    ] = None,
    backup: Annotated[Path | None, typer.Option(help="Copy the store to this file, and exit.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write all readings to this CSV, and exit.")] = None,
) -> None:
    """Grade the queried knees in a browser. With --auto, round after round."""
    with extra("annotate", "reading in a browser"):
        from kneeal.annotate import serve

    options = serve.ServeOptions(
        reader or (), adjudicator or (), reads, repeat, auto, enough, host, port, public_url, atlas
    )
    if link is not None:
        print(serve.new_link(run, link, options))
    if backup is not None:
        serve.back_up(run, backup)
        print(f"copied to {backup}")
    if table is not None:
        serve.write_readings(run, table)
        print(f"wrote {table}")
    if link is None and backup is None and table is None:
        serve.serve(run, options, data=data, images=images)


@app.command()
def readers(
    run: Annotated[Path, typer.Argument(help="Run folder that was annotated.", metavar="RUN")],
    reader: Annotated[list[str] | None, typer.Option(help="Let this person read.", metavar="NAME")] = None,
    adjudicator: Annotated[
        list[str] | None,
        typer.Option(help="Let this person decide where readings differ; with --reader, also read.", metavar="NAME"),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(help="Take this reader out; her answers stay.", metavar="NAME")
    ] = None,
    sign_out: Annotated[
        list[str] | None, typer.Option(help="End her sessions and void her links.", metavar="NAME")
    ] = None,
    reads: Annotated[int | None, typer.Option(help="Readers that each knee needs.")] = None,
    repeat: Annotated[float | None, typer.Option(help="Share of the knees that a reader silently gets twice.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Make the change; without it, only say what it would do.")] = False,
) -> None:
    """Show and change who reads what. This also works while the page is served."""
    with extra("annotate", "reading in a browser"):
        from kneeal.annotate.manage import ReaderChanges, manage_readers

    changes = ReaderChanges(reader or (), adjudicator or (), remove or (), sign_out or (), reads, repeat)
    print(manage_readers(run, changes, dry=not yes))
