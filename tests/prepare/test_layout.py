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
                        side="LR"[k % 2], low="lr"[k % 2], word=("left", "right")[k % 2], de=("links", "rechts")[k % 2],
                        roman=("0", "I", "II", "III", "IV")[k % 5], one=k % 5 + 1, french="GD"[k % 2],
                        iberian="ED"[k % 2], hash=f"{k:04x}",
                        count=("zero", "one", "two", "three", "four")[k % 5])
        for k in range(20)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "groups"),
    [
        ("data/{split}/{grade}/{patient}{side}.png", "split grade patient side"),
        ("{split}/KL{grade}/{patient}_{side}.jpg", "split grade patient side"),
        ("Knee/{split}/{name}/{patient}{side}.png", "split grade patient side"),
        ("{grade}{name}/{patient}-{side}.png", "grade patient side"),
        ("{name}/{split}/{patient} {word}.png", "split grade patient side"),
        ("all/{grade}/{side}_{patient}.bmp", "grade patient side"),
        ("set/{split}/{grade}/{grade}_{patient}_png.rf.{hash}.jpg", "split grade"),
        ("Labeled/{grade}/labeled_KL{grade}_image{hash}.png", "grade"),
        ("pictures/{hash}_KL{grade}_x.png", "grade"),
        ("{split}/{name}_{grade}/{patient}{side}.png", "split grade patient side"),
        ("{split}/{roman}/{patient}{side}.png", "split grade patient side"),
        ("{split}/Grade {roman}/{patient}{side}.png", "split grade patient side"),
        ("{split}/{count}/{patient}{side}.png", "split grade patient side"),
        ("{split}/class_{grade}/{patient}_{low}.png", "split grade patient side"),
        ("{split}/{grade}/{word}/{patient}.png", "split grade patient side"),
        ("{side}/{split}/{grade}/{patient}.png", "split grade patient side"),
        ("{split}/{grade}/{patient}/{side}.png", "split grade patient side"),
        ("{split}/{patient}/{word}_knee_KL{grade}.png", "split grade patient side"),
        ("{split}/{grade}/{patient}/{word}/1.png", "split grade patient side"),
        ("KL{grade}/{patient}/{side}/img_{hash}.png", "grade patient side"),
        ("{grade}/{patient}_{de}.png", "grade patient side"),
        ("KL{grade}_{patient}_{side}.png", "grade patient side"),
        ("{patient}_{side}_KL{grade}.png", "grade patient side"),
        ("{split}_{grade}_{patient}_{side}.png", "split grade patient side"),
        ("images_{split}/{grade}/{patient}{side}.png", "split grade patient side"),
        ("{split} Set/{grade}/{patient}{side}.png", "split grade patient side"),
        ("{split}1/{grade}/{patient}{side}.png", "split grade patient side"),
        ("{split}/{name}/{hash}.png", "split grade"),
        ("{split}/{grade}/{patient}{low}.png", "split grade patient side"),
        ("{split}/stade {grade}/{patient}_{french}.png", "split grade patient side"),
        ("{split}/Grade {count}/{patient}-{iberian}.png", "split grade patient side"),
        ("{split}/{name}{grade}/{patient}_{side}_pa.png", "split grade patient side"),
        ("{split}/{one}{name}/{patient}{side}.png", "split grade patient side"),
        ("{split}/{one}. {name}/{hash}.png", "split grade"),
    ],
)
def test_a_layout_gets_the_pattern_that_takes_it(template: str, groups: str) -> None:
    names = numbered(template)
    text, taken = suggest([*names[:19], "readme.png"])
    options = shlex.split(text)
    assert taken == (19 if "grade" in groups else 20)
    pattern = compile_pattern(options[options.index("--pattern") + 1])
    assert set(pattern.groupindex) == set(groups.split())
    grades = grade_names(options[options.index("--grades") + 1]) if "--grades" in options else {}
    rows, others = rows_by_pattern(names, pattern, "folder", grades)
    assert [row.grade for row in rows] == [k % 5 for k in range(20)] and others == []
    if "side" in pattern.groupindex:
        assert [row.side for row in rows] == ["LR"[k % 2] for k in range(20)]
        assert [row.patient for row in rows] == [str(9001000 + k // 2) for k in range(20)]
    assert ("--side" in options) == ("side" not in pattern.groupindex)
    if "split" in pattern.groupindex:
        assert [row.split for row in rows] == ["train" if k < 12 else "val" for k in range(20)]


def test_words_for_grades_that_a_pattern_takes_are_told_with_the_option_that_reads_them() -> None:
    names, pattern = numbered("{split}/{name}/{hash}.png"), compile_pattern(r"(?P<split>train|val)/(?P<grade>\w+)/")
    with pytest.raises(UserError, match="'Doubtful' in train/Doubtful") as caught:
        rows_by_pattern(names, pattern, "folder")
    options = shlex.split(caught.value.cure.removeprefix("give ").partition(", or correct the pattern")[0])
    rows, others = rows_by_pattern(names, pattern, "folder", grade_names(options[1]))
    assert [row.grade for row in rows] == [k % 5 for k in range(20)] and not others
    # A pattern has no cells.
    for other in (["train/odd/1.png"], [*names, "train/odd/1.png"]):
        with pytest.raises(UserError, match="others with --grades") as caught:
            rows_by_pattern(other, pattern, "folder")
        assert "pattern" in caught.value.cure and "cells" not in str(caught.value)


def test_a_folder_without_any_order_gets_no_grade_from_a_suggestion() -> None:
    names = [f"picture {k}.png" for k in range(9)]
    text, taken = suggest(names)
    assert "--ungraded" in text and "<grade>" not in text and taken == 9
    rows, others = rows_by_pattern(names, compile_pattern(shlex.split(text)[1]), "f")
    assert len(rows) == 9 and not others
    assert "--" not in suggest(names, side="R", ungraded=True)[0].removeprefix("--pattern")
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


@pytest.mark.parametrize("template", ["{one}/{patient}{side}.png", "class_{one}/{patient}{side}.png"])
def test_numbers_from_1_to_5_are_no_grades(template: str) -> None:
    text, taken = suggest(numbered(template))
    assert taken == 20 and "<grade>" not in text and "--ungraded" in text
    # Where they are, the option says which.
    pattern = compile_pattern("(?P<grade>[0-9])/(?P<patient>[0-9]+)(?P<side>[LR])")
    rows, _ = rows_by_pattern(numbered(template), pattern, "f", grade_names("1=0,2=1,3=2,4=3,5=4"))
    assert [row.grade for row in rows] == [k % 5 for k in range(20)]


def test_a_side_that_the_paths_say_is_proposed_though_a_patient_has_several_pictures_of_a_knee() -> None:
    names = [f"{k % 5}/{year}/{9001000 + k}{side}.png" for year in (2019, 2020) for k in range(9) for side in "LR"]
    text, taken = suggest(names)
    assert taken == 36 and "--side" not in text and "<patient>" not in text
    rows, _ = rows_by_pattern(names, compile_pattern(shlex.split(text)[1]), "f")
    assert [row.side for row in rows] == ["L", "R"] * 18 and [row.grade for row in rows] == [
        int(name[0]) for name in names
    ]


def test_a_word_that_means_a_side_in_one_language_alone_is_none() -> None:
    names = [f"{k % 5}/sag_{k:03}.png" for k in range(20)]
    assert "--side unknown" in suggest(names)[0]
    assert "<side>" in suggest([name.replace("sag", "left") for name in names])[0]


def test_two_folders_of_one_grade_are_not_told_apart_by_a_suggestion() -> None:
    names = [f"{name}/{k}{'LR'[k % 2]}.png" for k in range(9) for name in ("Normal", "Minimal", "Mild", "Severe")]
    assert "--grades" not in suggest(names)[0]


def test_augmented_copies_are_not_a_test_set() -> None:
    known = [f"x/{'train' if k < 12 else 'val'}/{k % 5}/{9001000 + k}L.png" for k in range(20)]
    text, taken = suggest([*known, *(f"x/auto_test/{k % 5}/{9001000 + k}L_1.png" for k in range(25))])
    assert taken == 20 and "<split>" in text


@pytest.mark.parametrize("pattern", ["(", r"(?P<kl>\d)"])
def test_a_pattern_that_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match="--pattern"):
        compile_pattern(pattern)


def test_the_layout_of_the_public_set_is_the_default() -> None:
    for name in ("train/0/9001695L.png", "4/1_R.tif", "val/2/é 7L.jpg", "Train/0/1L.png", "valid/0/1L.png"):
        assert re.search(DEFAULT_PATTERN, name)
    for name in ("train/5/1L.png", "train/0/1.png", "train/0/deep/1L.png", "more/train/0/1L.png",
                 "train/0/1_LATERAL.png", "0/FINAL.png", "0/1XR.png"):  # fmt: skip
        assert not re.search(DEFAULT_PATTERN, name)
