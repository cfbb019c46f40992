"""Writes a run to disk, every file whole or not at all, so that a run killed at any instant resumes."""

import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kneeal.files import write_atomic
from kneeal.loop.folder import (
    ANSWERS,
    EVALUATION,
    QUERY,
    QUERY_PREDICTIONS,
    ROUNDS,
    SCORES,
    STATE,
    TEST_PREDICTIONS,
    RunFolder,
)
from kneeal.loop.query import Query
from kneeal.loop.querying import Chosen
from kneeal.loop.runner import Evaluation
from kneeal.pool import PoolState
from kneeal.tables import csv_text


class RunWriter(RunFolder):
    """The files of one run, for the process that works on it.

    Args:
        path: The folder.
        active: Whether this process writes. Of several processes exactly one does; the others read at the
            start and from then on go by what they computed themselves.
    """

    def __init__(self, path: Path, *, active: bool = True) -> None:
        super().__init__(path)
        self.active = active

    def clean(self, state: PoolState) -> None:
        """Remove what a killed process left: half-written files, and the working folders of the current round."""
        if not self.active:
            return
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        unfinished = self.query_folder(state)
        for folder in unfinished.iterdir() if unfinished.is_dir() else ():
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)

    def write_state(self, state: PoolState) -> None:
        """Keep the state that goes into a round."""
        self.write_json(self.query_folder(state) / STATE, state.to_dict())

    def write_evaluation(
        self, number: int, row: Mapping[str, Any], evaluation: Evaluation, test_seconds: float
    ) -> None:
        """Write test_predictions.csv, then metrics.json, the mark that a round is trained and tested."""
        header = ["knee_id", "kl", *(f"p{grade}" for grade in range(evaluation.probs.shape[1])), "uncertainty"]
        rows = (
            [i, kl, *(f"{p:.6g}" for p in knee), f"{u:.6g}"]
            for i, kl, knee, u in zip(
                evaluation.ids, evaluation.kl, evaluation.probs.tolist(), evaluation.uncertainty.tolist(), strict=True
            )
        )
        self.write_csv(self.round(number) / TEST_PREDICTIONS, header, rows)
        metrics = {"row": row, "confusion": evaluation.confusion, "test_seconds": test_seconds}
        self.write_json(self.round(number) / EVALUATION, metrics)

    def write_chosen(self, state: PoolState, chosen: Chosen) -> None:
        """Write a query with what it was chosen by, the query last.

        scores.csv has the query in its order, then the pseudo pool, then the rest in the pool's order.
        query_predictions.csv has the mean probabilities of the knees asked for, where the strategy had any.
        """
        query, scores, grades, folder = chosen.query, chosen.scores, chosen.grades, self.round(state.round)
        roles = dict.fromkeys(query.ids, "query") | dict.fromkeys(query.pseudo, "pseudo")
        order = [*roles, *(i for i in scores if i not in roles)]
        rows = ([i, f"{scores[i]:.9g}", roles.get(i, ""), grades.get(i, "")] for i in order)
        self.write_csv(folder / SCORES, ["knee_id", "score", "role", "predicted"], rows)
        if chosen.predictions.log_probs is not None:
            row = {i: position for position, i in enumerate(chosen.predictions.ids)}
            probs = chosen.predictions.log_probs[[row[i] for i in query.ids]].exp().mean(dim=1).tolist()
            header = ["knee_id", *(f"p{grade}" for grade in range(len(probs[0])))]
            shown = ([i, *(f"{p:.6g}" for p in knee)] for i, knee in zip(query.ids, probs, strict=True))
            self.write_csv(folder / QUERY_PREDICTIONS, header, shown)
        self.write_query(state, query, chosen.row)

    def write_query(self, state: PoolState, query: Query, row: Mapping[str, float]) -> None:
        """Write query.json, the mark that a round's work is done; `row` goes into rounds.csv."""
        data = {"round": query.round, "ids": query.ids, "pseudo": query.pseudo, "scores": dict(query.scores)}
        self.write_json(self.query_folder(state) / QUERY, {**data, "row": row})

    def write_answers(self, state: PoolState, answers: Mapping[str, int | None]) -> None:
        """Keep the answers to the query made from a state."""
        self.write_json(self.query_folder(state) / ANSWERS, answers)

    def rebuild_rounds_csv(self) -> None:
        """Rewrite rounds.csv from the finished rounds, which it cannot disagree with."""
        if rows := self.rounds() if self.active else []:
            header = list(rows[-1])
            self.write_csv(self.path / ROUNDS, header, ([_cell(row.get(name)) for name in header] for row in rows))

    def write_csv(self, path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a table whole."""
        self.write_text(path, csv_text([header, *rows]))

    def write_json(self, path: Path, data: Any) -> None:
        """Write JSON whole."""
        self.write_text(path, json.dumps(data, indent=1, allow_nan=True) + "\n")

    def write_text(self, path: Path, text: str) -> None:
        """Write text whole, if this process writes at all."""
        if self.active:
            write_atomic(path, text)


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"
