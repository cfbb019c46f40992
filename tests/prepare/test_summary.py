"""The table that is printed at the end; for OAI beside what is known of the paper's Table 1."""

from __future__ import annotations

from pathlib import Path

from kneeal.prepare.summary import ArchiveSummary, nothing_usable
from kneeal.prepare.tasks import Rejection
from kneeal.prepare.work import PrepareOptions

COUNTS: dict[tuple[str, int | None], int] = {("A", 0): 7, ("B", 0): 1000, ("B", 4): 885, ("E", 1): 903, ("", 2): 5}


def rows(text: str) -> dict[str, list[str]]:
    return {line[:10].strip(): line[10:].split() for line in text.splitlines()}


def test_oai_is_compared_with_the_paper_where_its_counts_are_known() -> None:
    text = str(ArchiveSummary("oai", COUNTS, {"truncated": 2}, 4000, ["a note"]))
    found = rows(text)
    assert " ".join(found["site"]) == "KL 0 KL 1 KL 2 KL 3 KL 4 all paper diff."
    assert found["A"] == ["7", "0", "0", "0", "0", "7", "-", "-"]
    assert found["B"] == ["1000", "0", "0", "0", "885", "1885", "1882", "+3"]
    assert found["C"] == ["0"] * 6 + ["-", "-"]
    assert found["E"] == ["0", "903", "0", "0", "0", "903", "903", "+0"]
    # The three sites that are not known one by one are compared together, without those whose site is not known.
    assert found["A, C, D"][-3:] == ["7", "6168", "-6161"] and found["A to D"][-3:] == ["1892", "8050", "-6158"]
    assert found["all"][-3:] == ["2800", "8953", "-6153"] and found["(none)"][-3:] == ["5", "-", "-"]
    for said in ("2,800 knees from 4,000 radiographs", "truncated 2", "each grade", "text says 953", "a note"):
        assert said in text


def test_radiographs_whose_sides_contradict_each_other_are_not_to_be_used_without_a_look() -> None:
    for reason in ("marker_swapped", "marker_mirrored"):
        summary = ArchiveSummary("dicom", {}, {reason: 1}, 1)
        rejections = [Rejection("a", "p", "", reason, "a marker")]
        cure = nothing_usable(summary, rejections, PrepareOptions(), out=Path("o"), kept=Path("k")).cure
        assert "--markers" not in cure and "--corrections" in cure and "sheet.html" in cure


def test_other_sources_are_compared_with_nothing() -> None:
    text = str(ArchiveSummary("most", {("B", 0): 2, ("I", None): 1}, {}, 2))
    assert "paper" not in text and rows(text)["I"] == ["0", "0", "0", "0", "0", "1", "1"]
    assert rows(text)["site"][-2:] == ["none", "all"]
