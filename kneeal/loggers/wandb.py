"""Weights & Biases: one dashboard run for each active-learning run."""

from __future__ import annotations

import json
import netrc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from kneeal.files import write_atomic
from kneeal.loop.events import RoundReport

Mode = Literal["auto", "online", "offline"]
#: The x-axis of everything that is logged once a round.
STEP = "al/n_labeled"
_MARK = "wandb.json"


class WandbTracker:
    """Logs every finished round; never asks for anything, never ends a run that goes well.

    What a round logs has the x-axis `al/n_labeled`: metrics (`val/*`, `test/*`, `al/*`), the grades queried, a
    histogram of the test set's uncertainty, the confusion matrix, and a table of the queried knees with thumbnails.

    Args:
        run_folder: The run; W&B's own files go into its folder `wandb`.
        mode: "auto" is online where a key for W&B is at hand and offline elsewhere; `wandb sync` uploads later.
        project: W&B project.
        entity: W&B user or team.
        group: Runs to be compared as one line, for example the strategy.
        job_type: W&B job type.
        tags: W&B tags.
        run_id: Identifies the run, so that it goes on in the same dashboard after a resume. In a W&B sweep the agent's
            own id counts.
        thumbnail: Knee id to a picture, uint8 [H, W].
    """

    def __init__(
        self,
        run_folder: Path,
        *,
        mode: Mode,
        project: str,
        entity: str | None,
        group: str,
        job_type: str = "fit",
        tags: Sequence[str] = (),
        run_id: str,
        thumbnail: Callable[[str], NDArray[np.uint8]],
    ) -> None:
        self.run_folder = run_folder
        self.mode = mode
        self.project = project
        self.entity = entity
        self.group = group
        self.job_type = job_type
        self.tags = tuple(tags)
        self.run_id = run_id
        self.thumbnail = thumbnail
        self._run: Any = None

    def run_started(self, config: Mapping[str, Any], finished: Sequence[RoundReport]) -> None:
        """Open the dashboard run, and log rounds that an earlier process finished but did not log."""
        self._run = self._open(config)
        for pattern in ("al/*", "val/*", "test/*"):
            self._run.define_metric(pattern, step_metric=STEP)
        for report in finished:
            self.round_finished(report)

    def round_started(self, round: int, n_labeled: int, n_pool: int, n_rounds: int) -> None:
        """Nothing: a round is logged when it is finished."""

    def round_finished(self, report: RoundReport) -> None:
        """Log a round, once."""
        if self._run is None or report.round in (logged := self._logged()):
            return
        self._run.log(self._row(report))
        mark = {"run": self._run.id, "logged": sorted({*logged, report.round})}
        write_atomic(self.run_folder / _MARK, json.dumps(mark) + "\n")

    def run_finished(self) -> None:
        """Close the dashboard run."""
        self._close(0)

    def run_failed(self, error: BaseException) -> None:
        """Close it and mark it as failed."""
        self._close(1)

    def _open(self, config: Mapping[str, Any]) -> Any:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        mode = self.mode if self.mode != "auto" else ("online" if has_key() else "offline")
        options: dict[str, Any] = {
            "project": self.project,
            "entity": self.entity,
            "group": self.group,
            "job_type": self.job_type,
            "tags": self.tags,
            "name": self.run_folder.name,
            "id": self.run_id,
            "resume": "allow",
            "dir": str(self.run_folder),
            "config": dict(config),
        }
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, x_disable_meta=True, x_disable_stats=True
        )
        try:
            return wandb.init(mode=mode, settings=settings, **options)
        except Exception as error:
            if mode == "offline":
                raise
            # A run of days must not end because a server is away.
            print(f"W&B is out of reach ({error}); logging offline, `wandb sync` uploads it later", file=sys.stderr)
            return wandb.init(mode="offline", settings=settings, **options)

    def _row(self, report: RoundReport) -> dict[str, Any]:
        import wandb

        row: dict[str, Any] = {
            STEP: report.n_labeled,
            "al/round": report.round,
            "al/n_pseudo": report.n_pseudo,
            "al/n_pool": report.n_pool,
            **{f"al/{name}_seconds": value for name, value in report.seconds.items()},
            **{name.replace("_", "/", 1): value for name, value in report.metrics.items()},
            "test/uncertainty": wandb.Histogram(list(report.uncertainty), num_bins=32),
            "test/confusion": wandb.Table(
                columns=["kl", *(f"predicted_{grade}" for grade in range(len(report.confusion)))],
                data=[[grade, *row] for grade, row in enumerate(report.confusion)],
            ),
        }
        if report.answers:
            grades = list(report.answers.values())
            row |= {f"al/queried_grade_{grade}": grades.count(grade) for grade in range(len(report.confusion))}
            pictures = {
                i: wandb.Image(
                    self.thumbnail(i),
                    caption=f"{i}  score {report.scores.get(i, float('nan')):.3f}  KL {report.answers[i]}",
                )
                for i in report.query
            }
            row["al/query"] = wandb.Table(
                columns=["knee_id", "knee", "score", "kl"],
                data=[[i, pictures[i], report.scores.get(i, float("nan")), report.answers[i]] for i in report.query],
            )
            # The table keeps its pictures in an artifact; these lie beside the log, so that an offline run has them.
            row["al/query_knees"] = list(pictures.values())
        return row

    def _logged(self) -> set[int]:
        """Rounds that the dashboard run has; a sweep's agent gives each start of a cell a dashboard run of its own."""
        file = self.run_folder / _MARK
        if not file.is_file():
            return set()
        mark = json.loads(file.read_text(encoding="utf-8"))
        return set(mark["logged"]) if mark.get("run", self.run_id) == self._run.id else set()

    def _close(self, status: int) -> None:
        if self._run is not None:
            self._run.finish(exit_code=status)
            self._run = None


def has_key() -> bool:
    """Whether W&B can sign in without asking."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
