"""Any layout: what a pattern takes from paths, and the pattern that is proposed for a folder that does not fit."""

from __future__ import annotations

import re
import shlex

import pytest

from kneeal.errors import UserError
from kneeal.prepare.notation import grade_names
from kneeal.prepare.pictures import DEFAULT_PATTERN, compile_pattern, rows_by_pattern, suggest

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
    text, taken = suggest([*names[:19], "readme.png"])
    options = shlex.split(text)
    assert taken == (19 if "grade" in groups else 20)
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
    text, taken = suggest([f"picture {k}.png" for k in range(9)])
    assert "--ungraded" in text and "<grade>" not in text and taken == 9
    assert suggest([]) == ("", 0)


def test_a_pattern_that_says_more_of_most_pictures_goes_before_one_that_takes_all() -> None:
    known = [f"set 2/train/{k % 5}/{9001000 + k}L.png" for k in range(40)]
    augmented = [f"set 2/train/{k % 5}/{k % 5}_{k}_png.rf.{k:08x}.jpg" for k in range(25)]
    others = [f"set 2/auto_test/{k % 5}/{9001000 + k}_1.png" for k in range(9)]
    text, taken = suggest([*known, *augmented, *others])
    assert taken == 40
    assert set(re.findall(r"\?P<(\w+)>", text)) == {"split", "grade", "patient", "side"}


def test_pictures_with_and_without_a_grade_are_taken_together() -> None:
    graded = [f"Labeled/{k % 5}/image{k}.png" for k in range(20)]
    text, taken = suggest([*graded, *(f"Unlabeled/image{k}.png" for k in range(60))])
    assert taken == 80 and "--ungraded" in text
    pattern = compile_pattern(shlex.split(text)[1])
    assert [row.grade for row in rows_by_pattern(graded, pattern, "f")[0]] == [k % 5 for k in range(20)]


def test_a_folder_whose_name_holds_split_and_grade_is_taken_apart() -> None:
    text, taken = suggest([f"patient_{split}_{k % 5}_{k:04}/pa.png" for k in range(20) for split in ("train", "test")])
    assert taken == 40
    rows, _ = rows_by_pattern(["patient_test_3_0008/pa.png"], compile_pattern(shlex.split(text)[1]), "f")
    assert (rows[0].split, rows[0].grade) == ("test", 3)


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
        assert re.search(DEFAULT_PATTERN, name)
    for name in ("train/5/1L.png", "train/0/1.png", "train/0/deep/1L.png", "more/train/0/1L.png"):
        assert not re.search(DEFAULT_PATTERN, name)
