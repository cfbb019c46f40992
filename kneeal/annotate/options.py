"""The options of `kneeal annotate` and `kneeal readers`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

Names = list[str] | None


@dataclass(frozen=True)
class ServeOptions:
    """How the page is served; a `reads` or `repeat` of None is as the run has it."""

    readers: Annotated[
        Names, Option("--reader", help="Name of a reader, any number of times; at the first start.", metavar="NAME")
    ] = None
    adjudicators: Annotated[
        Names,
        Option(
            "--adjudicator",
            help="Who decides where readings differ and reads nothing herself, unless named with --reader too."
            " By default the first reader, when all readings are in.",
            metavar="NAME",
        ),
    ] = None
    reads: Annotated[int | None, Option(help="Readers that each knee needs.  [default: 1]")] = None
    repeat: Annotated[
        float | None, Option(help="Share of the knees that a reader silently gets twice.  [default: 0]")
    ] = None
    auto: Annotated[bool, Option("--auto", help="Train and choose the next knees when all are answered.")] = False
    enough: Annotated[
        float, Option(help="Share of a query that is enough for --auto; the rest comes with the next query.")
    ] = 1.0
    images: Annotated[Path | None, Option(help="Folder that the data set was prepared from.")] = None
    data: Annotated[Path | None, Option(help="The data set, if it has moved.")] = None
    atlas: Annotated[
        Path | None, Option(help="Folder with your own examples; each file name begins with its grade.")
    ] = None
    host: Annotated[str, Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Option(help="Port to listen on.", min=1, max=65535)] = 8010
    public_url: Annotated[
        str | None, Option(help="Address of the reverse proxy, for example https://reading.hospital.example.")
    ] = None

    @property
    def address(self) -> str:
        """Where readers find the page, ending in a slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/") + "/"


@dataclass(frozen=True)
class ReaderChanges:
    """A change of who reads what; None keeps a number as it is."""

    readers: Annotated[Names, Option("--reader", help="Let this person read.", metavar="NAME")] = None
    adjudicators: Annotated[
        Names,
        Option(
            "--adjudicator",
            help="Let this person decide where readings differ; with --reader, also read.",
            metavar="NAME",
        ),
    ] = None
    remove: Annotated[Names, Option(help="Take this reader out; her answers stay.", metavar="NAME")] = None
    sign_out: Annotated[Names, Option(help="End her sessions and void her links.", metavar="NAME")] = None
    reads: Annotated[int | None, Option(help="Readers that each knee needs.")] = None
    repeat: Annotated[float | None, Option(help="Share of the knees that a reader silently gets twice.")] = None


def named_roles(readers: Names, adjudicators: Names) -> dict[str, tuple[bool, bool]]:
    """Whether each person reads, and whether she adjudicates: what she is named as, and nothing else."""
    readers, adjudicators = readers or [], adjudicators or []
    return {name: (name in readers, name in adjudicators) for name in (*readers, *adjudicators)}
