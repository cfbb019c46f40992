"""The runs of a report: one run, the seeds of one setting, and everything together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kneeal.errors import UserError, unknown_name
from kneeal.loop.folder import RunFolder
from kneeal.loop.query import QueryRecord
from kneeal.loop.runner import RoundPredictions
from kneeal.stats.metrics import CalibrationCurve, calibration_curve
from kneeal.stats.summary import Curve, Summary, summarize_at


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder with at least one finished round."""

    path: Path  #: The folder.
    #: Dotted key to value, of the keys that decide what comes out. A text that names the seed is as the study file
    #: gives it, so that the runs of one setting agree in all but the seed.
    config: Mapping[str, Any]
    data_dir: str | None  #: The data set's folder as the run was given it.
    devices: int  #: Number of devices it ran on.
    dataset: str  #: Fingerprint of the data set; empty where the run does not say.
    rounds: pd.DataFrame  #: A row for each finished round.
    n_rounds: int  #: Rounds of the whole run, as far as they are known.
    given_name: str = ""  #: The setting's name in the study that the run belongs to; empty elsewhere.
    _predictions: dict[int, RoundPredictions] = field(default_factory=dict, init=False, repr=False)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.config["seed"])

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        return str(self.config["active.strategy"])

    @property
    def consistency(self) -> bool:
        """Whether the run used the consistency term."""
        return bool(self.config["loss.consistency"])

    @property
    def is_baseline(self) -> bool:
        """Whether the run trained on all training labels at once."""
        return bool(self.config["active.n_init"] == "all")

    @property
    def finished(self) -> bool:
        """Whether every round is there."""
        return len(self.rounds) >= self.n_rounds

    def curve(self, metric: str) -> Curve:
        """The learning curve: rounds that have a value, and of rounds with the same labels the last."""
        known = self.rounds.dropna(subset=[metric]).drop_duplicates("n_labeled", keep="last")
        return Curve(known["n_labeled"].to_numpy(np.int64), known[metric].to_numpy(np.float64))

    @property
    def folder(self) -> RunFolder:
        """Its files."""
        return RunFolder(self.path)

    def predictions(self, number: int) -> RoundPredictions:
        """Test predictions of a round, of the same knees and grades in all; of the last finished one for -1."""
        number %= len(self.rounds)
        if number not in self._predictions:
            self._predictions[number] = found = self.folder.predictions(number)
            if found.test_set != self.predictions(0).test_set:
                raise UserError(
                    f"the test knees or their grades are not the same in the rounds 0 and {number} of {self.path}",
                    "the test_predictions.csv that kneeal wrote, rows in their order",
                    "restore the files, or remove the round's folder and start the run again with --resume",
                )
        return self._predictions[number]

    @cached_property
    def queries(self) -> list[QueryRecord]:
        """Every query that was made, the first one included."""
        return self.folder.queries()


@dataclass(frozen=True)
class Setting:
    """Runs that differ in the seed only."""

    label: str  #: What it is called in tables.
    runs: Mapping[int, Run]  #: By seed.

    @property
    def first(self) -> Run:
        """Any one of the runs, to ask what they have in common."""
        return next(iter(self.runs.values()))

    def curves(self, metric: str) -> dict[int, Curve]:
        """Learning curves by seed."""
        return {seed: run.curve(metric) for seed, run in self.runs.items()}

    def summaries(self, metric: str, seeds: Sequence[int] = ()) -> list[tuple[int, Summary]]:
        """A metric over the seeds at each label count of any of them, rising; see `summarize_at`."""
        curves = self.curves(metric)
        counts = sorted({int(n) for curve in curves.values() for n in curve.n_labeled})
        return [(n, found) for n in counts if (found := summarize_at(curves, n, seeds)) is not None]

    @property
    def free_grades(self) -> str:
        """Grades used in addition to the labels: "352", or "350 to 353" where the seeds differ."""
        rows = [run.rounds.iloc[0] for run in self.runs.values()]
        sizes = [int(row["n_graded"] - row["n_labeled"]) for row in rows]
        return " to ".join(f"{n:,}" for n in sorted({min(sizes), max(sizes)}))

    def calibration(self) -> CalibrationCurve:
        """Confidence against accuracy after the last round, pooled over the seeds."""
        found = [run.predictions(-1) for run in self.runs.values()]
        return calibration_curve(np.concatenate([f.probs for f in found]), np.concatenate([f.kl for f in found]))

    def confusion(self) -> NDArray[np.int64]:
        """[C, C] test knees after the last round, row = true grade, summed over the seeds."""
        found = [run.folder.metrics(len(run.rounds) - 1)["confusion"] for run in self.runs.values()]
        return np.asarray(np.sum(found, axis=0), dtype=np.int64)


@dataclass(frozen=True)
class Runs:
    """Everything a report is made of."""

    settings: tuple[Setting, ...]  #: In the order given, the baseline of all labels last.
    seeds: tuple[int, ...]  #: Every seed that some setting has.
    #: What the reader must know: half-written runs, missing seeds.
    messages: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Run, ...]:
        """Every run."""
        return tuple(run for s in self.settings for run in s.runs.values())

    @property
    def test_predictions(self) -> RoundPredictions:
        """Predictions of some round, for the test knees and their grades: the same in all runs."""
        return self.settings[0].first.predictions(0)

    @property
    def curves(self) -> tuple[Setting, ...]:
        """The settings that query, in order."""
        return tuple(s for s in self.settings if not s.first.is_baseline)

    @property
    def baselines(self) -> tuple[Setting, ...]:
        """Those that train on all labels."""
        return tuple(s for s in self.settings if s.first.is_baseline)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that every run has."""
        return tuple(
            str(name)
            for name in self.settings[0].first.rounds.columns
            if str(name).startswith(("test_", "val_")) and all(name in run.rounds.columns for run in self.all)
        )

    def metric(self, name: str) -> str:
        """The column of a metric; the test set is meant where the name does not say."""
        for candidate in (name, f"test_{name}"):
            if candidate in self.metrics:
                return candidate
        known = [column.removeprefix("test_") for column in self.metrics]
        raise unknown_name("metric in these runs", name, known, "choose one of those")

    @property
    def label_counts(self) -> tuple[int, ...]:
        """Every label count at which some querying run has a round."""
        return tuple(sorted({int(n) for s in self.curves for run in s.runs.values() for n in run.rounds["n_labeled"]}))

    @property
    def any_free_grades(self) -> bool:
        """Whether any setting uses grades in addition to its labels."""
        return any(s.free_grades != "0" for s in self.settings)


def patient_in(knee_id: str) -> str:
    """The patient in a knee's name, <patient>_<side>; the whole name where it has another form."""
    return knee_id.rpartition("_")[0] or knee_id
