"""The same picture twice: files of equal content, told before anything is made of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from kneeal.data.prepared import file_checksum
from kneeal.errors import UserError
from kneeal.prepare.knee_table import KneeRow
from kneeal.tables import some

_FIRST = ("test", "val", "train", "")


def identical_files(paths: Sequence[Path]) -> list[list[int]]:
    """Positions of files with the same bytes, one list for each content that occurs more than once."""
    by_size: defaultdict[int, list[int]] = defaultdict(list)
    for position, path in enumerate(paths):
        by_size[path.stat().st_size].append(position)
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for positions in by_size.values():
        if len(positions) > 1:
            for position in positions:
                groups[file_checksum(paths[position])].append(position)
    return [positions for positions in groups.values() if len(positions) > 1]


def without_duplicates(rows: Sequence[KneeRow], paths: Sequence[Path], *, drop: bool) -> tuple[list[int], list[str]]:
    """Which rows to keep, and what to tell of the others.

    Args:
        rows: Rows of knees.
        paths: Their pictures.
        drop: Whether identical pictures are reduced to one (that of the test set, else of the validation set, else the
            first), and left out altogether where their grades differ.

    Raises:
        UserError: Identical pictures are in two splits or under two grades, and none is to be dropped.
    """
    groups = [[rows[position] for position in group] for group in identical_files(paths)]
    if not groups:
        return list(range(len(rows))), []
    torn = [group for group in groups if len({row.split for row in group}) > 1]
    graded = [group for group in groups if len({row.grade for row in group}) > 1]
    told = (
        f"{sum(map(len, groups))} files hold {len(groups)} pictures more than once ({len(torn)} of them in two splits, "
        f"{len(graded)} under two grades)"
    )
    named = some((" = ".join(row.where for row in group) for group in [*graded, *torn, *groups]), 3)
    cure = "--drop-duplicates keeps one of each, and none where their grades differ"
    if not drop and (torn or graded):
        raise UserError(
            f"{told}: {named}",
            "each picture in one split and under one grade, or the test result would be too good",
            f"remove the copies; {cure}",
        )
    if not drop:
        return list(range(len(rows))), [f"{told}: {named}; {cure}"]
    left_out: set[int] = set()
    for group in identical_files(paths):
        kept = min(group, key=lambda position: _FIRST.index(rows[position].split))
        contradict = len({rows[position].grade for position in group}) > 1
        left_out.update(position for position in group if contradict or position != kept)
    note = f"{told}: {len(left_out)} files are left out, for example {named}"
    return [position for position in range(len(rows)) if position not in left_out], [note]
