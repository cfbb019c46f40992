"""The comparison of encoders runs to its end, and refuses a data set that is too small for it at once."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from kneeal.data.prepared import write_prepared
from kneeal.nn.knee_encoder import KneeEncoder
from tests.helpers.knees import table
from tools import choose_knee_encoder as tool


@pytest.fixture
def data(tmp_path: Path) -> str:
    patches = np.random.default_rng(0).integers(0, 256, (40, 2, 128, 128), np.uint8)
    write_prepared(tmp_path / "data", table(20), patches, source="test", options={})
    return str(tmp_path / "data")


def test_it_prints_a_row_for_each_variant(
    data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [how for how in tool.variants() if how[0] in ("ships", "prior 2", "means of block 12, no projection")]
    monkeypatch.setattr(tool, "variants", lambda: iter(kept))
    monkeypatch.setattr(tool, "SIZES", (10, 20))
    monkeypatch.setattr(tool, "read_published", lambda file: {})
    monkeypatch.setattr(tool, "convert", lambda published: KneeEncoder().eval())
    tool.main([data])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    (head, _, *rows) = [row for row in rows if row]
    assert [row[:2] for row in rows] == [
        ["ships", "256"],
        ["prior 2", "256"],
        ["means of block 12, no projection", "384"],
    ]
    assert rows[0][-1] == "+0.0±0.0 +0.0±0.0" and all(len(row) == len(head) for row in rows)
    assert all(re.fullmatch(r"\d+\.\d", cell) for row in rows for cell in row[2:4])


def test_too_few_knees_for_the_labels_are_refused_before_they_are_encoded(
    data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "read_published", lambda file: pytest.fail("too late"))
    for more, cure in (([], "give a larger data set"), (["--knees", "30"], "leave out --knees")):
        with pytest.raises(SystemExit) as stopped:
            tool.main([data, *more])
        said = capsys.readouterr().err
        assert stopped.value.code == 2 and "expected 800" in said and cure in said
