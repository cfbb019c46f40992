"""Any layout: what a pattern takes from paths, and the pattern that is proposed for a folder that does not fit."""

from __future__ import annotations

import re
import shlex

import pytest

from kneeal.errors import UserError
from kneeal.prepare.layout import DEFAULT, compile_pattern, rows_by_pattern, side_option, suggest
from kneeal.prepare.notation import grade_names

NAMES = ("Normal", "Doubtful", "Mild", "Moderate", "Severe")


def numbered(template: str) -> list[str]:
    """Paths of 20 knees of ten patients, all grades in both splits."""
    return [
        template.format(split="train" if k < 12 else "val", grade=k % 5, name=NAMES[k % 5], patient=9001000 + k // 2,
                        side="LR"[k % 2], word=("left", "right")[k % 2], hash=f"{k:04x}")
        for k in range(20)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "groups"),
    [
        ("data/{split}/{grade}/{patient}{side}.png", "split grade patient side"),
        ("{split}/KL{grade}/{patient}_{side}.jpg", "split grade patient side"),
        ("Knee/{split}/{name}/{patient}{side}.png", "split grade patient side"),
        ("{grade}{name}/{patient}-{side}.png", "grade patient side"),
        ("{name}/{split}/{patient} {word}.png", "grade split patient side"),
        ("all/{grade}/{side}_{patient}.bmp", "grade side patient"),
        ("set/{split}/{grade}/{grade}_{patient}_png.rf.{hash}.jpg", "split grade"),
        ("Labeled/{grade}/labeled_KL{grade}_image{hash}.png", "grade"),
        ("pictures/{hash}_KL{grade}_x.png", "grade"),
    ],
)
def test_a_layout_gets_the_pattern_that_takes_it(template: str, groups: str) -> None:
    names = numbered(template)
    options = shlex.split(suggest([*names[:19], "readme.png"]))
    pattern = compile_pattern(options[options.index("--pattern") + 1])
    assert list(pattern.groupindex) == groups.split()
    grades = grade_names(options[options.index("--grades") + 1]) if "--grades" in options else {}
    rows, others = rows_by_pattern(names, pattern, "folder", grades)
    assert [row.grade for row in rows] == [k % 5 for k in range(20)] and others == []
    if "side" in pattern.groupindex:
        assert [row.side for row in rows] == ["LR"[k % 2] for k in range(20)]
        assert [row.patient for row in rows] == [str(9001000 + k // 2) for k in range(20)]
    assert ("--side" in options) == ("side" not in pattern.groupindex)
    if "split" in pattern.groupindex:
        assert [row.split for row in rows] == ["train" if k < 12 else "val" for k in range(20)]


def test_a_folder_without_any_order_gets_no_grade_from_a_suggestion() -> None:
    assert "--ungraded" in suggest([f"picture {k}.png" for k in range(9)])
    assert suggest([]) == "" or suggest([]).startswith("--pattern")


def test_a_pattern_says_what_it_can_and_what_does_not_match_is_told() -> None:
    rows, others = rows_by_pattern(
        ["a/3/x_l.png", "b/0/y_R.png", "notes.png"],
        compile_pattern(r"(?P<grade>\d)/(?P<patient>.)_(?P<side>[lLR])"),
        "f",
    )
    assert [(row.where, row.path, row.patient, row.side, row.grade, row.split) for row in rows] == [
        ("a/3/x_l.png", "a/3/x_l.png", "x", "L", 3, ""), ("b/0/y_R.png", "b/0/y_R.png", "y", "R", 0, ""),
    ]  # fmt: skip
    assert others == ["notes.png"]
    with pytest.raises(UserError, match=r"grade '7' in a/7/x_l\.png"):
        rows_by_pattern(["a/7/x_l.png"], compile_pattern(r"(?P<grade>\d)/"), "f")


@pytest.mark.parametrize("pattern", ["(", r"\d", r"(?P<kl>\d)"])
def test_a_pattern_that_says_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match="--pattern"):
        compile_pattern(pattern)


def test_the_layout_of_the_public_set_is_the_default() -> None:
    for name in ("train/0/9001695L.png", "4/1_R.tif", "val/2/é 7L.jpg"):
        assert re.search(DEFAULT, name)
    for name in ("train/5/1L.png", "train/0/1.png", "train/0/deep/1L.png", "more/train/0/1L.png"):
        assert not re.search(DEFAULT, name)


def test_the_side_of_all_is_given() -> None:
    assert [side_option(text) for text in ("", "R", "left", "Unknown")] == ["", "R", "L", "unknown"]
    with pytest.raises(UserError, match="--side both"):
        side_option("both")
