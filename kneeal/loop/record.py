"""What a run folder says of a finished round."""

from __future__ import annotations

from kneeal.loop.events import RoundReport
from kneeal.loop.folder import ANSWERS, METRICS, QUERY, STATE, TEST_PREDICTIONS, RunFolder
from kneeal.pool import PoolState


def read_report(run: RunFolder, number: int, n_rounds: int) -> RoundReport:
    """The report of a finished round.

    Args:
        run: The run.
        number: The round.
        n_rounds: Rounds of the whole run.
    """
    folder = run.round(number)
    metrics, query = run.read_json(folder / METRICS), run.read_json(folder / QUERY)
    answers = run.read_json(folder / ANSWERS) if (folder / ANSWERS).is_file() else {}
    state = PoolState.from_dict(run.read_json(folder / STATE))
    row = {**metrics["row"], **query["row"]}
    seconds = {name: float(row[f"{name}_seconds"]) for name in ("fit", "predict", "select")}
    return RoundReport(
        round=number,
        n_labeled=row["n_labeled"],
        n_pseudo=row["n_pseudo"],
        metrics={name: float(row[name]) for name in row if name.startswith(("val_", "test_"))},
        confusion=metrics["confusion"],
        uncertainty=run.read_uncertainty(folder / TEST_PREDICTIONS),
        query=tuple(query["ids"]),
        scores=query["scores"],
        answers={i: answers[i] for i in query["ids"] if answers.get(i) is not None},
        seconds={**seconds, "test": float(metrics["test_seconds"])},
        n_rounds=n_rounds,
        n_pool=len(state.unlabeled),
    )
