"""Finished radiographs on disk: what a result depends on is in its key, and what is damaged is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from kneeal.localizer.pose import KneePose
from kneeal.localizer.quality import SelectionRules
from kneeal.prepare.tasks import Correction, RadiographTask
from kneeal.prepare.work import PrepareOptions, RadiographResult, ResultStore

RESULT = RadiographResult(
    (KneePose("R", (1.5, 2.5), -3.0, 0.75),), np.arange(2 * 128 * 128, dtype=np.uint8).reshape(1, 2, 128, 128),
    (("L", "low_score", "not sure"),), b"radiograph", False, (KneePose("L", (9.5, 2.5), 1.0, 0.25),),
    True, "checksum", ("a note",),
)  # fmt: skip


def test_a_key_changes_with_whatever_the_result_depends_on(tmp_path: Path) -> None:
    path = tmp_path / "radiograph"
    path.write_bytes(b"1")
    task, options = RadiographTask(path, "radiograph", "p", {"R": 1}), PrepareOptions()
    same = ResultStore(tmp_path / "w", options, "weights").key(task)
    assert same == ResultStore(tmp_path / "other", options, "weights").key(task)
    # Other weights of the localizer, above all: a kept folder never mixes the results of two localizers.
    keys = {
        same,
        ResultStore(tmp_path / "w", options, "other weights").key(task),
        ResultStore(tmp_path / "w", replace(options, select=SelectionRules("ignore")), "weights").key(task),
        ResultStore(tmp_path / "w", options, "weights").key(replace(task, corrections={"R": Correction(True)})),
        ResultStore(tmp_path / "w", options, "weights").key(replace(task, grades={"R": 1, "L": 2})),
        ResultStore(tmp_path / "w", options, "weights").key(replace(task, side="R")),
    }
    path.write_bytes(b"22")
    keys.add(ResultStore(tmp_path / "w", options, "weights").key(task))
    assert len(keys) == 7
    # A grade that the table corrects is no reason to read the radiograph again.
    assert ResultStore(tmp_path / "w", options, "weights").key(replace(task, grades={"R": 4})) in keys


def test_a_result_comes_back_whole_or_not_at_all(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, PrepareOptions(), "weights")
    assert store.get("ab1") is None
    store.put("ab1", RESULT)
    found = store.get("ab1")
    assert found is not None and np.array_equal(found.patches, RESULT.patches)
    assert (found.poses, found.rejected, found.thumbnail) == (
        RESULT.poses, RESULT.rejected, b"radiograph",
    )  # fmt: skip
    assert (found.readable, found.unused) == (False, RESULT.unused)
    assert (found.single, found.checksum, found.notes) == (True, "checksum", ("a note",))
    file = next(tmp_path.rglob("*.npz"))
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:200] + b"\0" * 50 + whole[250:]):
        file.write_bytes(damaged)
        assert store.get("ab1") is None
