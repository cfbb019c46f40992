from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from knees import pairs, table

from kneeal.data.prepared import PreparedDataset, reseal, write_prepared
from kneeal.errors import UserError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    frame = table(5)
    write_prepared(tmp_path / "data", frame, iter(pairs(len(frame))), source="test", options={"a": 1})
    return tmp_path / "data"


def test_what_is_written_is_read(data: Path) -> None:
    dataset = PreparedDataset.open(data, verify=True)
    assert dataset.patches.shape == (10, 2, 128, 128)
    assert isinstance(dataset.patches, np.memmap)
    knee = dataset.manifest.ids[7]
    assert (dataset.patches[dataset.row[knee]] == 7).all()
    assert (dataset.info["source"], dataset.info["options"], dataset.info["n_knees"]) == ("test", {"a": 1}, 10)
    assert set(dataset.info["checksums"]) == {*dataset.manifest.frame.columns, "patches.npy"}
    assert sorted(p.name for p in data.parent.iterdir()) == ["data"], "nothing is left beside it"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def other_shape(path: Path) -> None:
    np.save(path, np.zeros((10, 1, 128, 128), np.uint8))


def other_type(path: Path) -> None:
    np.save(path, np.zeros((10, 2, 128, 128), np.float32))


def fewer(path: Path) -> None:
    np.save(path, np.zeros((9, 2, 128, 128), np.uint8))


def pickled(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("damage", [cut, longer, other_shape, other_type, fewer, pickled, Path.unlink])
def test_damaged_patches_are_refused(data: Path, damage: Callable[[Path], None]) -> None:
    damage(data / "patches.npy")
    with pytest.raises(UserError, match=r"patches\.npy"):
        PreparedDataset.open(data)


def test_changed_bytes_are_found_when_asked_for(data: Path) -> None:
    content = bytearray((data / "patches.npy").read_bytes())
    content[-1] ^= 1
    (data / "patches.npy").write_bytes(content)
    PreparedDataset.open(data)
    with pytest.raises(UserError, match="not the file that was prepared"):
        PreparedDataset.open(data, verify=True)


def test_a_changed_manifest_is_refused_until_it_is_sealed(data: Path) -> None:
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",A,", ",F,"))
    with pytest.raises(UserError, match=r"(?s)changed since.*site.*kneeal prepare seal"):
        PreparedDataset.open(data)
    assert reseal(data) == ["site"]
    assert "F" in PreparedDataset.open(data, verify=True).manifest.sites.values()


@pytest.mark.parametrize("name", ["manifest.csv", "dataset.json"])
def test_a_missing_file_is_named(data: Path, name: str) -> None:
    (data / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        PreparedDataset.open(data)


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"source": "x"})])
def test_damaged_information_is_refused(data: Path, content: str) -> None:
    (data / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=r"dataset\.json"):
        PreparedDataset.open(data)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kneeal demo-data"):
        PreparedDataset.open(tmp_path / "nowhere")


def test_nothing_is_written_over(data: Path) -> None:
    before = (data / "dataset.json").read_bytes()
    with pytest.raises(UserError, match="there already"):
        write_prepared(data, table(5), pairs(10), source="test", options={})
    assert (data / "dataset.json").read_bytes() == before


def test_an_interrupted_preparation_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield pairs(1)[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        write_prepared(tmp_path / "data", table(5), broken(), source="test", options={})
    assert list(tmp_path.iterdir()) == []


def test_as_many_pairs_as_knees(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="9 for 10"):
        write_prepared(tmp_path / "data", table(5), pairs(9), source="test", options={})
    with pytest.raises(ValueError, match=r"but got uint8 \(2, 64, 64\)"):
        write_prepared(tmp_path / "data", table(5), pairs(10, 64), source="test", options={})
    assert list(tmp_path.iterdir()) == []
