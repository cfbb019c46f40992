from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kneeal import acquisition
from kneeal.build.run_folder import run_name
from kneeal.config import RunConfig, config_names, flatten, resolve
from kneeal.errors import UserError
from kneeal.study.grid import read_study

CONFIGS = Path(__file__).parents[2] / "configs"
TABLE2 = CONFIGS / "table2.yaml"


def write(path: Path, **keys: Any) -> Path:
    file = path / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "s", "base": "paper", **keys}, sort_keys=False))
    return file


def test_table_2_is_the_papers() -> None:
    study = read_study(TABLE2)
    assert len(study.cells) == 55
    settings = {c.setting: (c.config.active.strategy, c.config.loss.consistency) for c in study.cells}
    assert len(settings) == 11
    for paper, strategy in {
        "ENT-MCD": "entropy_mcd", "MI-MCD": "mi_mcd", "LC": "least_confidence", "ENT": "entropy"
    }.items():  # fmt: skip
        assert settings[paper] == (strategy, False)
        assert settings[f"{paper} + CR"] == (strategy, True)
    assert settings["Random"] == ("random", False)
    assert settings["Random + CR"] == ("random", True), "the control of every strategy with consistency"
    for cell in study.cells:
        active = cell.config.active
        expected = ("all", "all") if cell.setting == "Full training set" else (50, 800)
        assert (active.n_init, active.budget) == expected
        assert cell.config.training.epochs == 500
    assert {c.seed for c in study.cells} == set(range(5))


def test_a_grid_is_crossed_with_settings_and_seeds_and_labelled(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        settings={"a": {"active.strategy": "entropy"}, "b": {"active.strategy": "mi_mcd"}},
        grid={"model.width": [8, 16]},
        seeds=[3, 4],
        exclude=[{"setting": "b", "model.width": 16, "seed": 4}],
        cells=[{"setting": "b", "model.width": 64, "seed": 9}],
    )
    cells = read_study(file).cells
    assert len(cells) == 2 * 2 * 2 - 1 + 1
    assert cells[0].setting == "a, model.width=8"
    assert cells[-1].setting == "b, model.width=64"
    assert (cells[-1].config.model.width, cells[-1].seed) == (64, 9)
    assert not [c for c in cells if (c.config.active.strategy, c.config.model.width, c.seed) == ("mi_mcd", 16, 4)]
    assert len({c.name for c in cells}) == len(cells)


def test_precedence(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        set={"training.epochs": 7, "model.width": 4},
        settings={"a": {"model.width": 8}},
        grid={"training.batch_size": [16]},
    )
    (cell,) = read_study(file, settings=["training.batch_size=64"], data="there").cells
    values = flatten(cell.config)
    assert (values["training.epochs"], values["model.width"], values["training.batch_size"]) == (7, 8, 64)
    assert values["data.dir"] == "there"
    assert values["training.milestones"] == [300, 400]


def test_a_base_beside_the_study_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training: {epochs: 3}\n")
    (cell,) = read_study(write(tmp_path, base="mine.yaml")).cells
    assert cell.config.training.epochs == 3


def test_the_name_is_what_the_cell_computes(tmp_path: Path) -> None:
    (a,) = read_study(write(tmp_path, settings={"one": {"model.width": 8}})).cells
    (b,) = read_study(write(tmp_path, settings={"two": {"model.width": 8}}), data="elsewhere").cells
    (c,) = read_study(write(tmp_path, settings={"one": {"model.width": 9}})).cells
    assert a.name == b.name != c.name
    assert a.name.startswith("mi_mcd-cr-seed0-")
    execution = RunConfig.model_validate({"compute": {"accelerator": "cpu"}, "tracking": {"mode": "none"}})
    assert run_name(RunConfig()) == run_name(execution)


def test_a_grid_over_data_sets_has_a_cell_for_each(tmp_path: Path) -> None:
    cells = read_study(write(tmp_path, grid={"data.dir": ["a", "b"]})).cells
    assert len({c.name for c in cells}) == 2


def test_a_text_value_can_name_the_seed(tmp_path: Path) -> None:
    setting = {"a": {"training.init": "start-{seed}.ckpt"}}
    cells = read_study(write(tmp_path, settings=setting, seeds=[3, 4])).cells
    assert [cell.config.training.init for cell in cells] == ["start-3.ckpt", "start-4.ckpt"]
    assert {cell.setting for cell in cells} == {"a"}
    assert [cell.by_seed for cell in cells] == [{"training.init": "start-{seed}.ckpt"}] * 2
    (cell,) = read_study(write(tmp_path, settings=setting, seeds=[3]), settings=["seed=9"]).cells
    assert (cell.seed, cell.config.training.init) == (9, "start-9.ckpt"), "the seed that the cell has in the end"


def test_the_studies_of_few_labels_have_each_run_once_and_the_same_first_labels() -> None:
    studies = [read_study(CONFIGS / name) for name in ("few_labels.yaml", "strategies.yaml")]
    cells = [cell for study in studies for cell in study.cells]
    used = {cell.config.active.strategy for cell in cells}
    assert len(used) > 20 and used <= set(acquisition.available()) - {"bald"}, "an alias would be the same run"
    assert len({cell.name for cell in cells}) == len(cells), "a run stands in one of them"
    first = {cell.setting for cell in cells if cell.config.active.first_query != "random"}
    assert first == {"MaxHerding, first query too"}


def test_runs_are_grouped_for_wandb(tmp_path: Path) -> None:
    file = write(tmp_path, settings={"ENT + CR": {"active.strategy": "entropy"}}, seeds=[0, 1])
    first, second = (c.config.tracking for c in read_study(file).cells)
    assert (first.project, first.group, first.job_type) == ("s", "ENT + CR", "study")
    assert first.tags == ("entropy", "consistency", "seed0")
    assert second.group == first.group
    own = write(tmp_path, set={"tracking.project": "p", "tracking.group": "g", "tracking.tags": ["t"]})
    (cell,) = read_study(own).cells
    assert (cell.config.tracking.project, cell.config.tracking.group, cell.config.tracking.tags) == ("p", "g", ("t",))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"settings": {"a": {}, "b": {}}}, "duplicate cell: 'b' seed 0 is the same run as 'a'"),
        ({"seeds": [1, 1]}, "duplicate cell"),
        ({"grid": {"model.width": [8, 8]}}, "duplicate cell"),
        ({"cells": [{"seed": 0}]}, "duplicate cell"),
        ({"grid": {"model.widht": [8]}}, "did you mean model.width"),
        ({"settings": {"a": {"active.strategy": "entropi"}}}, "did you mean 'entropy'"),
        ({"set": {"active.strategy": "margin", "active.options": {"n_samples": 9}}}, "option n_samples"),
        ({"grid": {"model.width": []}}, "grid.model.width without a value"),
        ({"seeds": []}, "seeds"),
        ({"sedes": [1]}, "sedes"),
        ({"name": "a/b"}, "name"),
        ({"exclude": [{"seed": 7}]}, "matches no cell"),
        ({"exclude": [{"seed": 0}]}, "has no cell"),
        ({"cells": [{"setting": "nope"}]}, "no setting called 'nope'"),
        ({"base": "papr"}, "did you mean 'paper'"),
    ],
)  # fmt: skip
def test_bad_grids(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        read_study(write(tmp_path, **keys))
    assert message in str(error.value)


def test_no_study_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study file"):
        read_study(tmp_path / "none.yaml")


def test_a_packaged_study_is_found_by_name_or_by_its_path_in_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given in ("table2", "configs/table2.yaml"):
        assert len(read_study(Path(given)).cells) == len(read_study(TABLE2).cells)
    with pytest.raises(UserError, match="or one of: ablation, "):
        read_study(Path("tabel2.yaml"))


def test_a_study_and_a_configuration_are_told_apart() -> None:
    with pytest.raises(UserError, match="kneeal study --config table2"):
        resolve("table2")
    with pytest.raises(UserError, match="kneeal fit --config"):
        read_study(Path("demo"))
    assert "table2" not in config_names() and "demo" in config_names()


def test_the_baseline_of_all_labels_stays_one_under_set() -> None:
    study = read_study(TABLE2, settings=["active.n_init=6", "active.budget=60"])
    budgets = {cell.setting: cell.config.active.budget for cell in study.cells}
    assert budgets.pop("Full training set") == "all" and set(budgets.values()) == {60}


def test_the_configuration_of_one_run_is_answered_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="start it with `kneeal fit --config frozen`"):
        read_study(Path("frozen"))
    file = tmp_path / "mine.yaml"
    file.write_text("base: frozen\n")
    with pytest.raises(UserError, match=r"start it with `kneeal fit --config .*mine.yaml`"):
        read_study(file)
