"""The contact sheet: worst first, nothing from outside, nothing that a name could break."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from kneeal.localizer.pose import KneePose
from kneeal.prepare import outputs
from kneeal.prepare.outputs import ContactSheetEntry, write_contact_sheet
from kneeal.prepare.work import RadiographResult

JPEG = cv2.imencode(".jpg", np.full((20, 30, 3), 90, np.uint8))[1].tobytes()
PATCHES = np.zeros((1, 2, 128, 128), np.uint8)


def radiograph(title: str, score: float, *, bad: bool = False, grade: int | None = 3) -> ContactSheetEntry:
    pose = KneePose("R", (101.23, 88.0), -4.56, max(score, 0.0))
    rejected = (("L", "replacement", "a knee <replacement>"),) if bad else ()
    unused = (KneePose("L", (301.0, 77.0), 2.0, 0.31),) if bad else ()
    thumbnail = b"" if title == "burned" else JPEG
    result = RadiographResult((pose,), PATCHES, rejected, thumbnail, unused=unused)
    return ContactSheetEntry(title, {"R": f"{title}_R", "L": f"{title}_L"}, {"R": grade}, score, lambda: result)


def write(path: Path, radiographs: list[ContactSheetEntry]) -> str:
    write_contact_sheet(path / "sheet.html", radiographs, "<knees>")
    return (path / "sheet.html").read_text(encoding="utf-8").replace("&nbsp;", " ")


def test_the_worst_come_first_and_the_best_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "MAX_ENTRIES", 3)
    radiographs = [
        radiograph("good", 0.99),
        radiograph("bad", -0.1, bad=True),
        radiograph("doubtful", 0.6),
        radiograph("best", 1.0),
    ]
    text = write(tmp_path, radiographs)
    assert re.findall(r"<h2>(\w+)</h2>", text) == ["bad", "doubtful", "good"]
    assert "4 radiographs" in text and "the best 1 are not shown" in text


def test_it_shows_side_grade_score_and_place_of_each_knee(tmp_path: Path) -> None:
    text = write(tmp_path, [radiograph("p1", 0.91), radiograph("p2", 0.5, grade=None), radiograph("p3", 0.2, bad=True)])
    for shown in ("p1_R", "KL 3", "score 0.91, x 101.2, y 88.0 mm, angle -4.6", "p2_R", "KL unknown", "score 0.50"):
        assert shown in text
    # What was seen and not used can be corrected, so its id and its place are there.
    assert "p3_L was seen, not used: score 0.31, x 301.0, y 77.0 mm, angle 2.0" in text


def test_it_needs_no_other_file_and_its_pictures_are_whole(tmp_path: Path) -> None:
    text = write(tmp_path, [radiograph("p1", 0.9), radiograph("burned", 0.8)])
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) == 3 and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    for source in sources:
        data = base64.b64decode(source.split(",", 1)[1], validate=True)
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape in ((20, 30, 3), (88, 176, 3))
    assert "no thumbnail" in text and "http" not in text


def test_names_and_reasons_cannot_break_the_page(tmp_path: Path) -> None:
    text = write(tmp_path, [radiograph('<script>"x"</script>', 0.2, bad=True), radiograph("é бедро", 0.3)])
    assert "<script>" not in text and "&lt;script&gt;" in text and "a knee &lt;replacement&gt; (replacement)" in text
    assert "é бедро" in text and "<title>&lt;knees&gt;</title>" in text
