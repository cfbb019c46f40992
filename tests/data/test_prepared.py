from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kneeal.data import prepared
from kneeal.data.prepared import (
    PreparedDataset,
    file_checksum,
    noted_checksum,
    refuse_occupied,
    renew_checksums,
    write_prepared,
)
from kneeal.errors import UserError

N, PX = 6, 16
PATCHES = np.random.default_rng(0).integers(0, 256, (N, 2, PX, PX), np.uint8)


def rows(n: int = N) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "knee_id": [f"00{k}_L" for k in range(n)],
            "patient_id": [f"00{k}" for k in range(n)],
            "side": "L",
            "kl": [k % 5 for k in range(n)],
            "age": [60 + k for k in range(n)],
        }
    )


def write(out: Path, patches: Any = PATCHES, table: pd.DataFrame | None = None) -> Path:
    write_prepared(out, rows() if table is None else table, patches, source="test", options={"a": 1}, patch_px=PX)
    return out


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data")


def test_what_was_written_is_read_back(data: Path) -> None:
    dataset = PreparedDataset.open(data, verify=True)
    assert isinstance(dataset.patches, np.memmap)
    np.testing.assert_array_equal(dataset.patches, PATCHES)
    assert dataset.manifest.ids == tuple(rows()["knee_id"])
    assert list(dataset.manifest.frame["age"]) == [str(60 + k) for k in range(N)]
    assert dataset.row["004_L"] == 4


def test_patches_cannot_be_written_to(data: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        PreparedDataset.open(data).patches[0] = 0


def test_the_info_says_how_it_was_made(data: Path) -> None:
    info = PreparedDataset.open(data).info
    assert (info["source"], info["options"], info["n_knees"], info["patch_px"]) == ("test", {"a": 1}, N, PX)
    assert info["kneeal"]
    assert info["checksums"]["patches.npy"] == file_checksum(data / "patches.npy")
    assert {"knee_id", "patient_id", "side", "site", "kl", "path", "split", "age"} < set(info["checksums"])


def test_the_same_knees_give_the_same_bytes(tmp_path: Path, data: Path) -> None:
    again = write(tmp_path / "again", iter(PATCHES))
    for file in data.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes()


def test_numpy_itself_can_read_the_patches(data: Path) -> None:
    np.testing.assert_array_equal(np.load(data / "patches.npy"), PATCHES)


def test_patches_are_taken_one_by_one(tmp_path: Path) -> None:
    def pairs() -> Iterator[np.ndarray]:
        pair = np.empty_like(PATCHES[0])
        for k in range(N):
            pair[:] = PATCHES[k]
            yield pair

    write_prepared(tmp_path / "d", rows(), pairs(), source="test", options={}, patch_px=PX)
    np.testing.assert_array_equal(np.load(tmp_path / "d" / "patches.npy"), PATCHES)


def test_an_empty_folder_is_filled_and_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    PreparedDataset.open(write(tmp_path / "empty"))
    PreparedDataset.open(write(tmp_path / "new" / "deep"))


@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: (p.mkdir(), (p / "x").write_text("x"))])
def test_nothing_is_written_over(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "out")
    with pytest.raises(UserError, match="already exists"):
        refuse_occupied(tmp_path / "out")
    with pytest.raises(UserError, match="already exists"):
        write(tmp_path / "out")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def cut(path: Path, n: int) -> None:
    os.truncate(path, path.stat().st_size - n)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"0")


def save(patches: np.ndarray) -> Callable[[Path], None]:
    return lambda data: np.save(data / "patches.npy", patches)


def save_archive(data: Path) -> None:
    with (data / "patches.npy").open("wb") as file:
        np.savez(file, PATCHES)


def drop_age(data: Path) -> None:
    frame = pd.read_csv(data / "manifest.csv", dtype=str, keep_default_na=False)
    frame.drop(columns="age").to_csv(data / "manifest.csv", index=False)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "it does not exist"),
    "no manifest": (lambda d: (d / "manifest.csv").unlink(), "no prepared data set"),
    "no patches": (lambda d: (d / "patches.npy").unlink(), r"patches\.npy cannot be read"),
    "no info": (lambda d: (d / "dataset.json").unlink(), r"dataset\.json cannot be read"),
    "info is no JSON": (lambda d: (d / "dataset.json").write_text("{"), r"dataset\.json cannot be read"),
    "info is a list": (lambda d: (d / "dataset.json").write_text("[]"), r"dataset\.json cannot be read"),
    "info without checksums": (lambda d: (d / "dataset.json").write_text("{}"), "no checksums"),
    "truncated patches": (lambda d: cut(d / "patches.npy", 1), r"patches\.npy"),
    "truncated header": (lambda d: os.truncate(d / "patches.npy", 40), r"patches\.npy"),
    "empty patches": (lambda d: os.truncate(d / "patches.npy", 0), r"patches\.npy"),
    "longer patches": (lambda d: grow(d / "patches.npy"), "bytes"),
    "wrong type": (save(PATCHES.astype(np.float32)), "float32"),
    "objects": (save(np.array([None])), r"patches\.npy cannot be read"),
    "one patch a knee": (save(PATCHES[:, :1]), r"\(6, 1, 16, 16\)"),
    "not square": (save(PATCHES[..., :8]), r"\(6, 2, 16, 8\)"),
    "too few dimensions": (save(PATCHES[:, 0]), r"\(6, 16, 16\)"),
    "a knee too few": (save(PATCHES[1:]), "6 knees"),
    "an archive": (save_archive, r"patches\.npy cannot be read"),
    "an edited grade": (lambda d: edit(d / "manifest.csv", "003_L,003,L,,3", "003_L,003,L,,2"), "changed.*in: kl"),
    "a column removed": (drop_age, "changed.*in: age"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_on_opening(data: Path, damage: str) -> None:
    break_it, words = DAMAGES[damage]
    break_it(data)
    with pytest.raises(UserError, match=words):
        PreparedDataset.open(data)


def test_changed_pixels_are_noticed_where_asked_for(data: Path) -> None:
    changed = PATCHES.copy()
    changed[3, 0, 0, 0] ^= 1
    save(changed)(data)
    PreparedDataset.open(data)
    with pytest.raises(UserError, match="not the file that was prepared"):
        PreparedDataset.open(data, verify=True)


def test_an_edit_on_purpose_gets_new_checksums(data: Path) -> None:
    edit(data / "manifest.csv", "003_L,003,L,,3,,", "003_L,003,L,,2,,test")
    with pytest.raises(UserError, match="kneeal prepare checksum"):
        PreparedDataset.open(data)
    assert set(renew_checksums(data)) == {"kl", "split"}
    dataset = PreparedDataset.open(data, verify=True)
    assert dataset.manifest.kl["003_L"] == 2
    assert dataset.info["options"] == {"a": 1}
    assert renew_checksums(data) == []


def test_reordered_rows_get_no_checksums_since_the_patches_would_belong_to_other_knees(data: Path) -> None:
    path = data / "manifest.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]) + "\n")
    before = (data / "dataset.json").read_bytes()
    with pytest.raises(UserError, match="reordered"):
        renew_checksums(data)
    assert (data / "dataset.json").read_bytes() == before


def test_another_side_gets_no_checksum_since_it_decided_the_orientation(data: Path) -> None:
    edit(data / "manifest.csv", "003_L,003,L", "003_L,003,R")
    with pytest.raises(UserError, match="side"):
        renew_checksums(data)


def test_sealing_does_not_vouch_for_other_pixels(data: Path) -> None:
    save(PATCHES[::-1])(data)
    edit(data / "manifest.csv", "003_L,003,L,,3", "003_L,003,L,,2")
    renew_checksums(data)
    with pytest.raises(UserError, match="not the file that was prepared"):
        PreparedDataset.open(data, verify=True)


def test_a_malformed_edit_gets_no_checksums(data: Path) -> None:
    edit(data / "manifest.csv", "003_L,003,L,,3", "003_L,003,L,,7")
    with pytest.raises(UserError, match="kl '7'"):
        renew_checksums(data)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "patches",
    [PATCHES[:-1], [*PATCHES, PATCHES[0]], PATCHES[:, :1], PATCHES.astype(np.int16)],
    ids=["too few", "too many", "one patch", "type"],
)
def test_patches_that_do_not_fit_are_a_mistake_of_the_caller(tmp_path: Path, patches: Any) -> None:
    with pytest.raises(ValueError, match="patch pair"):
        write(tmp_path / "out", patches)
    assert left(tmp_path) == []


def test_rows_that_are_no_manifest_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kl '9'"):
        write(tmp_path / "out", table=rows().assign(kl=9))
    assert left(tmp_path) == []


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def pairs() -> Iterator[np.ndarray]:
        yield PATCHES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", pairs())
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "function", ["numpy.lib.format.write_array_header_1_0", "kneeal.data.prepared.write_atomic", "kneeal.files.sync"]
)
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(function, full)
    with pytest.raises(UserError, match="No space left"):
        write(tmp_path / "out")
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_seal_that_cannot_be_written_leaves_the_old_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((data / "dataset.json").read_text())
    edit(data / "manifest.csv", "003_L,003,L,,3", "003_L,003,L,,2")

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("kneeal.files.sync", full)
    with pytest.raises(UserError, match="No space left"):
        renew_checksums(data)
    assert json.loads((data / "dataset.json").read_text()) == before


def test_a_file_is_read_again_only_where_its_size_or_a_time_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, note, read = tmp_path / "patches.npy", tmp_path / "notes" / "patches.npy.json", []

    def checksum(path: Path) -> str:
        read.append(path)
        return file_checksum(path)

    monkeypatch.setattr(prepared, "file_checksum", checksum)

    def found(n_read: int) -> bool:
        """Whether the checksum is right, and the file was read so often in two calls."""
        read.clear()
        return noted_checksum(file, note) == noted_checksum(file, note) == file_checksum(file) and len(read) == n_read

    file.write_bytes(b"one")
    assert found(1)
    times = file.stat()
    file.write_bytes(b"two")
    while file.stat().st_ctime_ns == times.st_ctime_ns:  # the clock of a file system ticks every few milliseconds
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps the time of another file
    assert found(1) and found(0)
    for damaged in ("", "{", "1", '["a"]', "[[1, 2, 3], 4]"):
        note.write_text(damaged)
        assert found(1)
    note.unlink()
    note.parent.rmdir()
    note.parent.write_text("in the way")
    assert found(2), "no place for the note"
