"""Reads a run from disk; everything else that needs something of a run asks here."""

import csv
import json
import math
from pathlib import Path
from typing import Any

from kneeal.errors import UserError, readable
from kneeal.files import describe_path, read_yaml
from kneeal.loop.events import RoundReport
from kneeal.loop.query import Query, QueryRecord
from kneeal.loop.runner import RoundPredictions
from kneeal.pool import PoolState

#: Files that identify a run: its settings, and its data set.
CONFIG, RUN = "config.yaml", "run.json"
#: Held by the one process that works on a run; see `kneeal.files.hold_lock`.
LOCK = ".lock"
ROUNDS, ROUNDS_FOLDER, START = "rounds.csv", "rounds", "start"
STATE, EVALUATION, SCORES, QUERY, ANSWERS = "state.json", "metrics.json", "scores.csv", "query.json", "answers.json"
TEST_PREDICTIONS, QUERY_PREDICTIONS, CHECKPOINT = "test_predictions.csv", "query_predictions.csv", "best.ckpt"
#: What a damaged file of a round should have been, and what helps.
_RESTORE = (
    "the file that kneeal wrote",
    "restore it from a backup, or remove its round's folder and continue the run, which does that round again",
)


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def round(self, number: int) -> Path:
        """The folder of a round."""
        return self.path / ROUNDS_FOLDER / f"{number:03d}"

    def query_folder(self, state: PoolState) -> Path:
        """Where the query made from a state lies: its round's folder, or `start` before anything is labeled."""
        return self.round(state.round) if state.labeled else self.path / START

    def checkpoint(self, number: int) -> Path:
        """The weights of a round."""
        return self.round(number) / CHECKPOINT

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return (self.path / CONFIG).is_file()

    @property
    def begun(self) -> bool:
        """Whether the folder holds more than what identifies a run; a run that was refused leaves no more.

        A run that was killed while it wrote those files leaves temporary files besides.
        """
        inside = self.path.iterdir() if self.path.is_dir() else ()
        return any(path.name not in (CONFIG, RUN, LOCK) and not path.match(".*.tmp") for path in inside)

    def check(self) -> None:
        """Refuse a folder without a run."""
        if not self.exists:
            raise UserError(
                f"no run in {self.path}: {describe_path(self.path)}",
                "the folder of a run",
                "give the folder that `kneeal fit` or `kneeal ask` wrote; of a study, one of the folders in it",
            )

    @property
    def finished(self) -> bool:
        """Whether the run asks for no more labels and its last network is evaluated: its last query is empty."""
        made = self._rounds_with(QUERY)
        return bool(made) and not self.read_json(self.round(made[-1]) / QUERY)["ids"]

    def config(self) -> dict[str, Any]:
        """The settings of the run as they were saved."""
        tree = read_yaml(self.path / CONFIG)
        if not isinstance(tree, dict):
            raise UserError(f"{self.path / CONFIG} has no settings", "the file that kneeal wrote", "restore it")
        return tree

    def dataset(self) -> str:
        """Fingerprint of the data set; empty where the run does not say."""
        return str((self._read_if_there(self.path / RUN) or {"dataset": ""})["dataset"])

    def latest_state(self) -> PoolState | None:
        """The newest state, None in a new folder."""
        made = self._rounds_with(STATE)
        folder = self.round(made[-1]) if made else self.path / START
        found = self._read_if_there(folder / STATE)
        return None if found is None else PoolState.from_dict(found)

    def state(self, number: int) -> PoolState:
        """The state that went into a round."""
        return PoolState.from_dict(self.read_json(self.round(number) / STATE))

    def rounds(self) -> list[dict[str, Any]]:
        """A row for each finished round, oldest first: what rounds.csv shows, which nothing reads."""
        return [self.row(number) for number in range(len(self._rounds_with(QUERY)))]

    def evaluated(self) -> list[int]:
        """The rounds whose network is trained and tested, oldest first; the last one may still have no query."""
        return self._rounds_with(EVALUATION)

    def metrics(self, number: int) -> dict[str, Any]:
        """What the fit and the test of a round gave: `row` of rounds.csv, `confusion` and `test_seconds`."""
        found: dict[str, Any] = self.read_json(self.round(number) / EVALUATION)
        return found

    def row(self, number: int) -> dict[str, Any]:
        """The row of a trained and tested round for rounds.csv, with what its query adds once there is one."""
        query = self._read_if_there(self.round(number) / QUERY) or {"row": {}}
        return {**self.metrics(number)["row"], **query["row"]}

    def pool_grades(self, number: int) -> dict[str, int]:
        """Grades that the network of a round predicted for the unlabeled knees, where it predicted any."""
        path = self.round(number) / SCORES
        with readable(path, *_RESTORE):
            rows = _read_csv(path) if number >= 0 and path.is_file() else []
            return {row["knee_id"]: int(row["predicted"]) for row in rows if row.get("predicted")}

    def predictions(self, number: int) -> RoundPredictions:
        """Test predictions of a round."""
        path = self.round(number) / TEST_PREDICTIONS
        with readable(path, *_RESTORE):
            rows = _read_csv(path)
            grades = sorted(name for name in rows[0] if name[:1] == "p" and name[1:].isdigit())
            return RoundPredictions(
                tuple(row["knee_id"] for row in rows),
                tuple(int(row["kl"]) for row in rows),
                tuple(tuple(float(row[grade]) for grade in grades) for row in rows),
                tuple(float(row["uncertainty"]) for row in rows),
            )

    def query(self, state: PoolState) -> Query | None:
        """The query made from a state, None where it is still to be made; one without knees ends the run."""
        data = self._read_if_there(self.query_folder(state) / QUERY)
        # A first query of nothing but unreadable knees is answered without a label: its folder stays the place of
        # the next one, and what lies there is history.
        if data is None or (not state.labeled and not set(data["ids"]) <= set(state.unlabeled)):
            return None
        return Query(data["round"], tuple(data["ids"]), tuple(data["pseudo"]), data["scores"])

    def answers(self, state: PoolState) -> dict[str, int | None]:
        """The answers so far to the query made from a state; None for a knee that cannot be graded."""
        query, found = self.query(state), self._read_if_there(self.query_folder(state) / ANSWERS) or {}
        return {i: kl for i, kl in found.items() if query is not None and i in query.ids}

    def queries(self) -> list[QueryRecord]:
        """Every query that asked for knees, the first one included, oldest first."""
        folders = [(-1, self.path / START), *((n, self.round(n)) for n in self._rounds_with(QUERY))]
        found = []
        for number, folder in folders:
            query = self._read_if_there(folder / QUERY) or {"ids": ()}
            answers = self._read_if_there(folder / ANSWERS) or {}
            if ids := tuple(query["ids"]):
                scores = tuple(float(query["scores"].get(i, math.nan)) for i in ids)
                found.append(QueryRecord(number, ids, scores, tuple(answers.get(i) for i in ids)))
        return found

    def query_probabilities(self, number: int) -> dict[str, tuple[float, ...]]:
        """Probabilities of the grades of each knee that a round asked for, where its strategy had any."""
        path = self.round(number) / QUERY_PREDICTIONS
        with readable(path, *_RESTORE):
            rows = _read_csv(path) if path.is_file() else []
            return {row["knee_id"]: tuple(float(row[name]) for name in row if name != "knee_id") for row in rows}

    def report(self, number: int, n_rounds: int) -> RoundReport:
        """The report of a finished round of a run that has `n_rounds` as a whole."""
        metrics, query = self.metrics(number), self.read_json(self.round(number) / QUERY)
        answers = self._read_if_there(self.round(number) / ANSWERS) or {}
        row = self.row(number)
        seconds = {name: float(row[f"{name}_seconds"]) for name in ("fit", "predict", "select")}
        return RoundReport(
            round=number,
            n_labeled=row["n_labeled"],
            n_graded=row["n_graded"],
            n_pseudo=row["n_pseudo"],
            metrics={name: float(row[name]) for name in row if name.startswith(("val_", "test_"))},
            confusion=metrics["confusion"],
            uncertainty=self.predictions(number).uncertainty,
            query=tuple(query["ids"]),
            scores=query["scores"],
            answers={i: answers[i] for i in query["ids"] if answers.get(i) is not None},
            seconds={**seconds, "test": float(metrics["test_seconds"])},
            n_rounds=n_rounds,
            n_pool=len(self.state(number).unlabeled),
        )

    def read_json(self, path: Path) -> Any:
        """Read JSON."""
        with readable(path, *_RESTORE):
            return json.loads(path.read_text(encoding="utf-8"))

    def _read_if_there(self, path: Path) -> Any | None:
        return self.read_json(path) if path.is_file() else None

    def _rounds_with(self, name: str) -> list[int]:
        return sorted(int(path.parent.name) for path in self.path.glob(f"{ROUNDS_FOLDER}/[0-9]*/{name}"))


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
