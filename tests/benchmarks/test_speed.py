"""The benchmark itself: that it runs, that it takes the fastest turn, and that it leaves prose alone."""

from __future__ import annotations

import logging
import runpy
import sys
from pathlib import Path

import pytest

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules import each other by name, as a folder that Python runs."""
    if not SPEED.is_dir():
        pytest.skip("benchmarks are not part of an installed package")
    monkeypatch.syspath_prepend(str(SPEED))
    for name in ("page", "timing"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_table_takes_the_place_of_the_one_before_and_prose_stays(beside: None, tmp_path: Path) -> None:
    import page

    file = tmp_path / "performance.md"
    file.write_text("# Performance\n\nBefore.\n", encoding="utf-8")
    page.put(file, "cpu a", "first \\1")
    file.write_text(file.read_text(encoding="utf-8") + "\nAfter.\n", encoding="utf-8")
    page.put(file, "cpu b", "other")
    page.put(file, "cpu a", "second \\1")
    text = file.read_text(encoding="utf-8")
    assert "first" not in text
    assert [text.index(part) for part in ("Before.", "second \\1", "After.", "other")] == sorted(
        text.index(part) for part in ("Before.", "second \\1", "After.", "other")
    )


def test_turns_alternate_and_the_fastest_counts_but_not_the_one_that_warms_up(beside: None) -> None:
    from timing import Turn, ratio, take_turns

    order: list[str] = []

    def candidate(name: str, clocks: list[float]) -> object:
        left = iter(clocks)

        def work() -> Turn:
            order.append(name)
            clock = next(left)
            return Turn(clock, 2 * clock)

        return work

    best = take_turns({"a": candidate("a", [0.1, 3, 2]), "b": candidate("b", [0.1, 4, 6])}, rounds=2)  # type: ignore[dict-item]
    assert order == ["a", "b"] * 3
    assert best == {"a": Turn(2, 4), "b": Turn(4, 8)}
    assert ratio(best["a"], best["b"]).startswith("2.00x")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    # In this process, which has torch already.
    monkeypatch.setattr(sys, "argv", [str(SPEED), *arguments])
    before = set(sys.modules)
    level = {name: logging.getLogger(name).level for name in ("pytorch_lightning", "lightning.fabric")}
    try:
        runpy.run_path(str(SPEED), run_name="__main__")
    finally:
        for name, number in level.items():
            logging.getLogger(name).setLevel(number)
        for name in set(sys.modules) - before:
            if getattr(sys.modules[name], "__file__", None) and SPEED in Path(str(sys.modules[name].__file__)).parents:
                del sys.modules[name]


def test_the_sections_run_on_a_cpu_in_tiny_sizes(beside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, sections = tmp_path / "performance.md", ("prediction", "training", "growth", "many", "limits")
    run(monkeypatch, "--tiny", "--page", str(page), "--only", *sections)
    text = page.read_text(encoding="utf-8")
    for section in sections:
        assert f"<!-- end of cpu {section} -->" in text
    assert "not measured" not in text
    assert "nan" not in text


def test_an_unknown_section_is_refused(
    beside: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "--tiny", "--only", "predicton")
    assert "there are prediction" in capsys.readouterr().err


def test_a_section_is_ended_after_its_share_of_the_time_and_says_so(
    beside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    with pytest.raises(SystemExit, match="not measured: growth, many"):
        run(monkeypatch, "--tiny", "--page", str(page), "--within", "0.01", "--only", "growth", "many")
    text = page.read_text(encoding="utf-8")
    for section in ("growth", "many"):  # neither could import torch in 0.4 s
        assert f"{section} | not measured: not done within 0 s" in text


def test_every_section_has_a_share_of_the_time(beside: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    names = runpy.run_path(str(SPEED))
    assert set(names["PARTS"]) == set(names["sections"](torch.device("cpu")))
    assert names["WITHIN"] < 10
