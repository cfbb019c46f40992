"""The benchmark itself: that it runs, that it takes the fastest turn, and that it leaves prose alone."""

from __future__ import annotations

import subprocess
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


def test_every_section_of_bench_gpu_runs_on_a_cpu_in_tiny_sizes(beside: None, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    command = [sys.executable, str(SPEED), "--tiny", "--page", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    for section in ("prediction", "training", "growth", "stream", "many", "limits"):
        assert f"<!-- end of cpu {section} -->" in text
    assert "not measured" not in text
    assert "nan" not in text


def test_an_unknown_section_is_refused(beside: None) -> None:
    done = subprocess.run(
        [sys.executable, str(SPEED), "--tiny", "--only", "predicton"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 2
    assert "there are prediction" in done.stderr
