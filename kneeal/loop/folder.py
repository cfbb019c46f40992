"""A run on disk: every file is written whole or not at all, so that a run killed at any instant resumes."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kneeal.acquisition import Predictions
from kneeal.errors import UserError
from kneeal.files import write_atomic
from kneeal.loop.runner import Evaluation
from kneeal.pool import PoolState

STATE, METRICS, SCORES, QUERY, ANSWERS = "state.json", "metrics.json", "scores.csv", "query.json", "answers.json"
TEST_PREDICTIONS, CHECKPOINT, START = "test_predictions.csv", "best.ckpt", "start"
QUERY_PREDICTIONS = "query_predictions.csv"


class RunFolder:
    """The files of one run.

    Args:
        path: The folder.
        writer: Whether this process writes. Of several processes exactly one does; the others read at the
            start and from then on go by what they computed themselves.
    """

    def __init__(self, path: Path, *, writer: bool = True) -> None:
        self.path = path
        self.writer = writer

    def round(self, number: int) -> Path:
        """The folder of a round."""
        return self.path / "rounds" / f"{number:03d}"

    def place(self, state: PoolState) -> Path:
        """Where the query made from a state lies: its round's folder, or `start` before anything is labeled."""
        return self.round(state.round) if state.labeled else self.path / START

    def write_state(self, state: PoolState) -> None:
        """Keep the state that goes into a round."""
        self.write_json(self.place(state) / STATE, state.to_dict())

    def latest_state(self) -> PoolState | None:
        """The newest state, None in a new folder."""
        for folder in (*sorted((self.path / "rounds").glob("[0-9]*"), reverse=True), self.path / START):
            if (folder / STATE).is_file():
                return PoolState.from_dict(self.read_json(folder / STATE))
        return None

    def clean(self, unfinished: Path) -> None:
        """Remove what a killed process left: half-written files, and the working folders of an unfinished round."""
        if not self.writer:
            return
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        for folder in unfinished.iterdir() if unfinished.is_dir() else ():
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)

    def write_evaluation(self, folder: Path, evaluation: Evaluation) -> None:
        """Write test_predictions.csv."""
        n_grades = evaluation.probs.shape[1]
        header = ["knee_id", "kl", *(f"p{grade}" for grade in range(n_grades)), "uncertainty"]
        probs, uncertainty = evaluation.probs.tolist(), evaluation.uncertainty.tolist()
        rows = (
            [i, kl, *(f"{p:.6g}" for p in knee), f"{u:.6g}"]
            for i, kl, knee, u in zip(evaluation.ids, evaluation.kl, probs, uncertainty, strict=True)
        )
        self.write_csv(folder / TEST_PREDICTIONS, header, rows)

    def read_uncertainty(self, path: Path) -> list[float]:
        """The uncertainty column of a test_predictions.csv."""
        with path.open(encoding="utf-8", newline="") as file:
            return [float(row["uncertainty"]) for row in csv.DictReader(file)]

    def write_scores(
        self, folder: Path, scores: Mapping[str, float], query: Sequence[str], pseudo: Sequence[str]
    ) -> None:
        """Write scores.csv: the query in its order, then the pseudo pool, then the rest in the pool's order."""
        roles = dict.fromkeys(query, "query") | dict.fromkeys(pseudo, "pseudo")
        order = [*query, *pseudo, *(i for i in scores if i not in roles)]
        rows = ([i, f"{scores[i]:.9g}", roles.get(i, "")] for i in order)
        self.write_csv(folder / SCORES, ["knee_id", "score", "role"], rows)

    def write_query_predictions(self, folder: Path, predictions: Predictions, query: Sequence[str]) -> None:
        """Write query_predictions.csv, mean probabilities of the knees asked for, where the strategy had any."""
        if predictions.log_probs is None:
            return
        row = {i: position for position, i in enumerate(predictions.ids)}
        probs = predictions.log_probs[[row[i] for i in query]].exp().mean(dim=1)
        header = ["knee_id", *(f"p{grade}" for grade in range(probs.shape[1]))]
        rows = ([i, *(f"{p:.6g}" for p in knee)] for i, knee in zip(query, probs.tolist(), strict=True))
        self.write_csv(folder / QUERY_PREDICTIONS, header, rows)

    def rebuild_rounds_csv(self) -> None:
        """Write rounds.csv anew from the finished rounds, so that it can never disagree with them."""
        if not self.writer:
            return
        finished: list[dict[str, Any]] = []
        for folder in sorted((self.path / "rounds").glob("[0-9]*")):
            if (folder / QUERY).is_file():
                metrics, query = self.read_json(folder / METRICS), self.read_json(folder / QUERY)
                finished.append({**metrics["row"], **query["row"]})
        if finished:
            header = list(finished[-1])
            rows = ([_cell(row.get(name)) for name in header] for row in finished)
            self.write_csv(self.path / "rounds.csv", header, rows)

    def write_csv(self, path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a table atomically."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
        self.write_text(path, text.getvalue())

    def write_json(self, path: Path, data: Any) -> None:
        """Write JSON atomically."""
        self.write_text(path, json.dumps(data, indent=1, allow_nan=True) + "\n")

    def write_text(self, path: Path, text: str) -> None:
        """Write text atomically, if this process writes at all."""
        if self.writer:
            write_atomic(path, text)

    def read_json(self, path: Path) -> Any:
        """Read JSON.

        Raises:
            UserError: The file is not JSON: something else than kneeal has written it.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} cannot be read ({error})",
                "a JSON file written by kneeal",
                "restore it from a backup, or remove its round's folder to do that round again",
            ) from error


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value
