"""`kneeal annotate`: the web page for readers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(annotate)


def annotate(
    run: Annotated[Path, typer.Argument(help="Run folder, begun by `kneeal ask`.", metavar="RUN")],
    reader: Annotated[list[str] | None, typer.Option(help="Name of a reader, any number of times.")] = None,
    adjudicator: Annotated[
        list[str] | None, typer.Option(help="Who decides where readings differ; by default the first reader.")
    ] = None,
    reads: Annotated[int, typer.Option(help="Readers that each knee needs.")] = 1,
    repeat: Annotated[float, typer.Option(help="Share of the knees that are silently asked twice.")] = 0.0,
    auto: Annotated[bool, typer.Option("--auto", help="Start the next round by itself.")] = False,
    enough: Annotated[
        float, typer.Option(help="Share of a query that is enough for --auto; the rest goes into the next query.")
    ] = 1.0,
    images: Annotated[Path | None, typer.Option(help="Folder that the data set was prepared from.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data set, where it has moved.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8010,
    public_url: Annotated[
        str | None, typer.Option(help="Address of the reverse proxy, for example https://reading.hospital.example.")
    ] = None,
    link: Annotated[str | None, typer.Option(help="Print a one-time link for this reader, and exit.")] = None,
    backup: Annotated[Path | None, typer.Option(help="Copy the store to this file, and exit.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write all readings to this CSV, and exit.")] = None,
) -> None:
    """Grade the pending query in a browser; with --auto, round after round."""
    from kneeal.annotate import serve

    options = serve.ServeOptions(reader or (), adjudicator or (), reads, repeat, auto, enough, host, port, public_url)
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
