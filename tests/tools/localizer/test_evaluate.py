"""The measurement of the localizer runs, and counts what is rejected by its reason."""

from __future__ import annotations

import re

import pytest

from tools.localizer import evaluate


def test_it_prints_shares_of_good_and_of_faulty_radiographs(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main(["--radiographs", "2", "--faulty", "1", "--seed", "5"])
    said = capsys.readouterr().out
    assert re.search(r"4 knees: center within 5 mm [\d.]+%, angle within 3 deg [\d.]+%", said)
    for fault in evaluate.FAULTS:
        assert re.search(rf"{fault}: [01] of 1 rejected, [01] for that reason", said)
