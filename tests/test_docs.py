"""What the documentation shows works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.commands import done

from kneeal import acquisition
from kneeal.nn import ssl
from kneeal.nn.heads import HEADS
from kneeal.training import posteriors

ROOT = Path(__file__).parents[1]


def test_the_python_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done("demo-data", "--out", "demo-data", "--knees", "150")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    scope: dict[str, object] = {}
    exec(compile(code, "docs/python.md", "exec"), scope)
    assert "60 0." in capsys.readouterr().out
    last = scope["last"]
    assert len(last.ids) == len(last.predicted) > 0  # type: ignore[attr-defined]


def test_the_page_of_checks_names_everything_and_tests_that_exist() -> None:
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    for name in (*acquisition.available(), *ssl.available(), *posteriors.available(), *HEADS):
        assert f"`{name}`" in page, name
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []
