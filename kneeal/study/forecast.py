"""What a study would cost on one device."""

from collections.abc import Sequence
from pathlib import Path

from kneeal.config import identity
from kneeal.errors import UserError
from kneeal.report.cost import measure, project, shape_of
from kneeal.report.reading import read_runs
from kneeal.report.text import TextTable
from kneeal.study.grid import Study


def forecast(study: Study, measured: Sequence[Path]) -> TextTable:
    """Device-hours of each setting and of the whole study, at the rates of measured runs of any length.

    A fit's time is taken as epochs times (a fixed part + a rate times the labeled and pseudo knees), both by least
    squares over the measured rounds; a prediction's as a rate times the pool.
    """
    runs = read_runs(measured).all
    wanted = {shape_of(identity(cell.config)) for cell in study.cells}
    other = [run.path for run in runs if shape_of(run.config) not in wanted]
    if other:
        raise UserError(
            f"{other[0]} has another network, patch or batch size than the study",
            "rates of the same network",
            "measure two rounds of a few epochs with the study's settings (--set training.epochs=3)",
        )
    rates = measure(runs)
    hours: dict[str, list[float]] = {}
    for cell in study.cells:
        hours.setdefault(cell.setting, []).append(project(identity(cell.config), rates) / 3600)
    rows = [[name, str(len(h)), f"{h[0]:.2f}", f"{sum(h):.1f}"] for name, h in hours.items()]
    rows.append(["together", str(len(study.cells)), "", f"{sum(map(sum, hours.values())):.1f}"])
    rounds = sum(len(run.rounds) for run in runs)
    return TextTable(
        f"{study.name} on one device, at the rates of {len(runs)} runs with {rounds} rounds",
        ["setting", "runs", "hours a run", "hours"],
        rows,
        ["", "one cell at a time; validation and evaluation are in it, the start of processes is not"],
    )
