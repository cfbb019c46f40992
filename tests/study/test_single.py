from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kneeal.errors import UserError
from kneeal.study.grid import read_study
from kneeal.study.single import run_single, sweep_yaml

TABLE2 = Path(__file__).parents[2] / "configs" / "table2.yaml"


def test_a_sweep_has_the_cells_of_the_grid() -> None:
    study = read_study(TABLE2)
    sweep = yaml.safe_load(sweep_yaml(study, ["--config", "table2.yaml"]))
    assert sweep["parameters"]["cell"]["values"] == [cell.name for cell in study.cells]
    assert sweep["command"] == ["${env}", "kneeal", "study", "cell", "--config", "table2.yaml", "${args}"]
    assert (sweep["method"], sweep["project"]) == ("grid", "table2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no cell"),
        ({"index": 50}, "--index 50"),
        ({"name": "mi_mcd-cr-seed0"}, "did you mean 'mi_mcd-cr-seed"),
        ({"name": "a", "index": 0}, "a name and an index"),
    ],
)
def test_a_cell_that_is_not_there(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_single(read_study(TABLE2), **options)  # type: ignore[arg-type]
