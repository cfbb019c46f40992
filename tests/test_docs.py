"""What the documentation shows works as it stands."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from helpers.commands import done

from kneeal import acquisition
from kneeal.cli import app
from kneeal.config import RunConfig, flatten
from kneeal.nn import ssl
from kneeal.nn.heads import HEADS
from kneeal.training import posteriors

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    options = (ROOT / "docs" / "beyond.md").read_text(encoding="utf-8")
    for name in (*ssl.available(), *posteriors.available()):
        assert f"`{name}`" in options, name
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


@pytest.mark.parametrize(
    ("begins", "file", "labels", "kappa"),
    [
        ("| setting | 50 |", "curves", (50, 100, 200, 500, 800), False),
        ("| learner | 200 |", "ablation", (200, 500), True),
        ("| strategy | 50 |", "strategies", (50, 100, 200, 500, 800), False),
    ],
)
def test_tables_of_results_are_those_of_the_committed_curves(
    begins: str, file: str, labels: tuple[int, ...], kappa: bool
) -> None:
    with (ROOT / "docs" / "results" / "frozen" / f"{file}.csv").open(encoding="utf-8") as lines:
        rows = {(r["setting"], r["metric"], int(r["n_labeled"])): r for r in csv.DictReader(lines)}

    def cell(setting: str, n: int) -> str:
        row = rows.get((setting, "test_balanced_accuracy", n))
        if row is None:
            # The column of the largest number also holds what all knees give.
            return cell(setting, 5778) if n == 800 else ""
        text = f"{100 * float(row['mean']):.1f}±{100 * float(row['standard_error']):.1f}"
        return text + (f" ({float(rows[setting, 'test_quadratic_kappa', n]['mean']):.2f})" if kappa else "")

    expected = sorted([cell(setting, n) for n in labels] for setting in {key[0] for key in rows})
    page = (ROOT / "docs" / "first-run.md").read_text(encoding="utf-8")
    shown = page[page.index(begins) :].split("\n\n")[0].replace("*", "").splitlines()[2:]
    assert sorted([part.strip() for part in line.split("|")[2:-1]] for line in shown) == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)", page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / file if file else page
        assert target.exists(), link
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else ()
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_settings_and_targets_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    shown = re.findall(r"^(?:\$ )?kneeal ([^#\n]*)", blocks, re.MULTILINE) + re.findall(r"`kneeal ([^`\n|]*)`", text)
    for line in shown:
        command: Any = typer.main.get_command(app)
        words = line.split()
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        options = {"-h", *(name for p in command.params for name in (*p.opts, *p.secondary_opts))}
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= options, line
        assert not words or words[0].startswith("-") or not hasattr(command, "commands"), line
    keys = flatten(RunConfig()).keys()
    for key in re.findall(r"--set [\"']?([a-z_.]+)=", text):
        assert key in {*keys, "section.key"} or key.rpartition(".")[0] in keys, key
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)
