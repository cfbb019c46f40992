"""The loop over the fake runner, and what a run folder says of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from helpers.fake_runner import POOL, FakeRunner
from kneeal import acquisition
from kneeal.loop.active import ActiveLearningLoop
from kneeal.loop.query import Schedule
from kneeal.loop.writer import RunWriter

SCHEDULE = Schedule(n_init=10, n_query=8, budget=30)


def loop(
    path: Path, runner: FakeRunner | None = None, strategy: str = "entropy_mcd", **options: object
) -> ActiveLearningLoop:
    options.setdefault("schedule", SCHEDULE)
    schedule = options.pop("schedule")
    return ActiveLearningLoop(
        runner or FakeRunner(),
        acquisition.get(strategy),
        POOL,
        RunWriter(path),
        schedule,
        **options,  # type: ignore[arg-type]
    )


def rows(path: Path) -> list[dict[str, str]]:
    with (path / "rounds.csv").open() as file:
        return list(csv.DictReader(file))


def without_times(path: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in rows(path)]


def queries(path: Path) -> list[list[str]]:
    files = [path / "start" / "query.json", *sorted((path / "rounds").glob("*/query.json"))]
    return [json.loads(file.read_text())["ids"] for file in files if file.is_file()]
