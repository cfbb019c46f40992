"""What the documentation shows works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.commands import done

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


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []
