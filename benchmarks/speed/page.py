"""Tables between markers of docs/performance.md; the prose around them is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timing import Row

_HEAD = "| figure | ours | against | times as fast | aim | load |\n| --- | --- | --- | --- | --- | --- |"


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown."""
    lines = [
        f"| {row.figure} | {row.ours} | {row.against} | {row.ratio} | {row.aim} | {row.load:.1f} |" for row in rows
    ]
    return "\n".join([_HEAD, *lines])


def put(page: Path, name: str, text: str, by: str = "benchmarks/speed") -> None:
    """Replace what lies between the markers `name` in a page; a new pair of markers goes to its end."""
    begin, end = f"<!-- {name}: written by {by} -->", f"<!-- end of {name} -->"
    block = f"{begin}\n{text}\n{end}"
    old = page.read_text(encoding="utf-8") if page.is_file() else "# Performance\n"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    new = pattern.sub(lambda _: block, old) if pattern.search(old) else f"{old.rstrip()}\n\n{block}\n"
    page.write_text(new, encoding="utf-8")
