from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from knees import table

from kneeal.data.manifest import read_manifest
from kneeal.errors import UserError


def write(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path / "manifest.csv", index=False)
    return path / "manifest.csv"


def test_reading_keeps_ids_as_text_and_grades_as_numbers(tmp_path: Path) -> None:
    frame = table(3)
    frame["patient_id"] = ["0012", "0012", "7", "7", "8", "8"]
    frame["kl"] = ["0", "4", "", "2.0", "1", "3"]
    frame["reader"] = "NA"
    manifest = read_manifest(write(tmp_path, frame))
    assert list(manifest.patients.values())[:2] == ["0012", "0012"]
    assert list(manifest.kl.values()) == [0, 4, 2, 1, 3]
    assert manifest.ids[2] not in manifest.kl
    assert set(manifest.frame["reader"]) == {"NA"}


def first(column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[0, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "found", "expected"),
    [
        (first("kl", "7"), "kl '7' in line 2", "whole KL grade from 0 to 4"),
        (first("kl", "2.5"), "kl '2.5' in line 2", "whole KL grade"),
        (first("kl", "mild"), "kl 'mild' in line 2", "whole KL grade"),
        (first("knee_id", "9000001_L"), "knee_id '9000001_L' in line 2, '9000001_L' in line 4", "each knee id once"),
        (first("knee_id", ""), "knee_id '' in line 2", "printable"),
        (first("knee_id", "../../x"), "knee_id '../../x' in line 2", "without"),
        (first("patient_id", "a\x07b"), "patient_id 'a\\x07b' in line 2", "printable"),
        (first("side", "left"), "side 'left' in line 2", "L or R"),
        (first("split", "training"), "split 'training' in line 2", "train, val or test"),
        (lambda f: f.drop(columns=["kl", "site"]), "without the columns site, kl", "the columns knee_id"),
        (lambda f: f.iloc[:0], "without a single knee", "one row a knee"),
        (lambda f: f.assign(split=["train", "test"] * (len(f) // 2)), "two splits: 9000000, 9000001", "one split"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], found: str, expected: str
) -> None:
    with pytest.raises(UserError) as error:
        read_manifest(write(tmp_path, change(table(6))))
    assert found in error.value.found
    assert expected in error.value.expected


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'a,b\n"1,2\n3'])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.csv"):
        read_manifest(tmp_path / "manifest.csv")


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kneeal prepare"):
        read_manifest(tmp_path / "manifest.csv")
