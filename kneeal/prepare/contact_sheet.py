"""sheet.html: every radiograph with what was found on it, worst first, in one file that needs no other."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from kneeal.prepare.work import RadiographResult

#: Most radiographs on the sheet: what a browser shows without delay.
MAX_ENTRIES = 2000


@dataclass(frozen=True)
class ContactSheetEntry:
    """One radiograph of the contact sheet."""

    title: str  #: What it is called.
    knee_ids: dict[str, str]  #: Side to knee id.
    grades: dict[str, int | None]  #: Side to KL grade; None where it is not known.
    score: float  #: Lowest score of its knees; below 0 where something of it was rejected.
    load: Callable[[], RadiographResult]  #: Gives its result, so that not all need be in memory.


def write_contact_sheet(path: Path, entries: Sequence[ContactSheetEntry], heading: str) -> None:
    """Write the contact sheet; beyond `MAX_ENTRIES` the best are left out."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_url"] = lambda jpeg: "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    template = environment.from_string(files("kneeal.prepare").joinpath("contact_sheet.html").read_text("utf-8"))
    ranked = sorted(entries, key=lambda entry: (entry.score, entry.title))[:MAX_ENTRIES]
    stream = template.stream(
        heading=heading,
        total=len(entries),
        left_out=len(entries) - len(ranked),
        entries=((entry, entry.load()) for entry in ranked),
    )
    stream.dump(str(path), encoding="utf-8")
