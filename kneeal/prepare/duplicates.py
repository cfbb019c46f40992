"""Identical pictures: files of equal content, reported before anything is made of them."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from kneeal.data.prepared import file_checksum
from kneeal.prepare.knee_table import KneeRow
from kneeal.tables import count, some

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


def without_duplicates(rows: Sequence[KneeRow], source: Path, *, drop: bool) -> tuple[list[int], list[str]]:
    """Which rows to keep, and notes on pictures that occur more than once.

    With `drop`, identical pictures are reduced to one (that of the test set, else of the validation set, else the
    first), and left out altogether if their grades differ; otherwise all are kept and reported.
    """
    groups = identical_files([source / row.path for row in rows])
    if not groups:
        return list(range(len(rows))), []
    torn = [group for group in groups if len({rows[k].split for k in group}) > 1]
    graded = [group for group in groups if len({rows[k].grade for k in group}) > 1]
    # Those that do harm first, each named by two of its files, which differ where any do.
    ranked = {
        group[0]: sorted(group, key=lambda k: (str(rows[k].grade), rows[k].split))
        for group in [*graded, *torn, *groups]
    }
    named = some((f"{rows[group[0]].where} = {rows[group[-1]].where}" for group in ranked.values()), 3)
    note = (
        f"{sum(map(len, groups))} files hold {count(len(groups), 'picture')} more than once "
        f"({len(torn)} of them in two splits, {len(graded)} under two grades): {named}"
    )
    if not drop:
        bad = "; the results would be too good or wrong" if torn or graded else ""
        return list(range(len(rows))), [
            f"{note}{bad}; --drop-duplicates keeps one of each, and none where their grades differ"
        ]
    left_out: set[int] = set()
    for group in groups:
        kept = min(group, key=lambda position: _FIRST.index(rows[position].split))
        contradict = len({rows[position].grade for position in group}) > 1
        left_out.update(position for position in group if contradict or position != kept)
    return [k for k in range(len(rows)) if k not in left_out], [f"{note}; {len(left_out)} files are left out"]
