from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from kneeal.config import RunConfig, config_names, flatten, identity, resolve, to_yaml, validate
from kneeal.errors import UserError
from kneeal.files import parse_yaml


def test_defaults_are_the_paper() -> None:
    assert resolve("paper") == resolve()
    paper = resolve("paper")
    assert (paper.active.n_init, paper.active.n_query, paper.active.budget) == (50, 50, 800)
    assert (paper.training.epochs, paper.training.milestones, paper.training.betas) == (500, (300, 400), (0.9, 0.99))
    assert paper.data.test_site == "E"


@pytest.mark.parametrize("name", config_names())
def test_every_packaged_configuration_is_valid_and_found_by_name(name: str) -> None:
    assert isinstance(resolve(name), RunConfig)


def test_precedence(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 1\nmodel: {width: 8, dropout: 0.1}\ntraining: {learning_rate: 1e-4}\n")
    config = resolve(str(file), ["model.width=4", "seed=2"], {"seed": 3, "active.strategy": None})
    assert config.model.width == 4
    assert config.model.dropout == 0.1
    assert config.seed == 3
    assert config.active.strategy == "mi_mcd"
    assert config.training.learning_rate == 1e-4


def test_strategy_options_are_free_keys() -> None:
    assert resolve(None, ["active.options.n_samples=20"]).active.options == {"n_samples": 20}


def test_numbers_with_exponents_are_numbers() -> None:
    assert parse_yaml("[1e-3, 1E5, 1.5e+2, -2e3, 1e]", "test") == [1e-3, 1e5, 150.0, -2000.0, "1e"]


def test_what_is_saved_reads_back(tmp_path: Path) -> None:
    config = resolve("demo", ["views.gamma=[0.7, 1.2]"], {"seed": 9})
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert resolve(str(tmp_path / "config.yaml")) == config


@pytest.mark.parametrize(
    ("settings", "found", "cure"),
    [
        (["model.widht=8"], "unknown key model.widht", "did you mean model.width?"),
        (["width=8"], "unknown key width", "did you mean model.width?"),
        (["model.width=many"], "model.width = 'many'", "correct model.width"),
        (["data.patch_size=100"], "multiple of 8", "correct data.patch_size"),
        (["model.pooling=max"], "'hv', 'vh' or 'gap'", "correct"),
        (["training.epochs=0"], "greater than 0", "correct"),
        (["training.prior=.inf"], "a finite number", "correct training.prior"),
        (["views.gamma=[0.5, inf]"], "a finite number", "correct views.gamma"),
        (["views.gamma=[1.5, 0.5]"], "views.gamma", "correct"),
        (["model.width"], "--set 'model.width'", "--set model.width=16"),
        (["seed.x=3", "seed=4", "seed.y=1"], "seed is not a section", "check the key"),
        (["model={width: 8"], "is not YAML", "correct the line"),
        (["model={width: 8, width: 9}"], "'width' is given twice", "correct the line"),
    ],
)
def test_mistakes_are_named_with_their_cure(settings: list[str], found: str, cure: str) -> None:
    with pytest.raises(UserError) as error:
        resolve(None, settings)
    assert found in str(error.value)
    assert cure in error.value.cure


def test_a_missing_file_and_an_unknown_name() -> None:
    with pytest.raises(UserError, match=r"(?s)no configuration file nowhere\.yaml.*frozen.*of a study: .*table2"):
        resolve("nowhere.yaml")
    with pytest.raises(UserError, match="did you mean 'paper'"):
        resolve("papr")


def test_a_file_that_is_no_mapping(tmp_path: Path) -> None:
    file = tmp_path / "list.yaml"
    file.write_text("- 1\n- 2\n")
    with pytest.raises(UserError, match="has no settings"):
        resolve(str(file))


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        ("modle: {width: 8}", "did you mean model?"),
        ("active.budget: 60", "write it as `budget` in the section `active`"),
        ("widht: 8", "did you mean model.width?"),
    ],
)
def test_a_mistake_in_a_file_has_its_cure(content: str, cure: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(UserError) as error:
        resolve(str(tmp_path / "mine.yaml"))
    assert error.value.cure == cure


def test_an_empty_section_has_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("active:\n  # budget: 60\nseed: 1\n")
    assert resolve(str(tmp_path / "mine.yaml")) == resolve(None, ["seed=1"])


def test_a_configuration_builds_on_another(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("base: frozen\nseed: 3\nactive: {budget: 300}\nviews: {gamma: [0.5, 1.0]}\n")
    file = tmp_path / "mine.yaml"
    file.write_text("base: lab.yaml\nactive: {n_query: 20}\n")  # found beside the file, wherever the command runs
    assert resolve(str(file)) == resolve(
        "frozen", ["seed=3", "active.budget=300", "views.gamma=[0.5, 1.0]", "active.n_query=20"]
    )
    assert resolve({"base": "frozen", "seed": 1}) == resolve("frozen", [], {"seed": 1})
    assert "base" not in to_yaml(resolve(str(file)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("base: frozn", "mine.yaml: base: no configuration called 'frozn'.*did you mean 'frozen'"),
        ("base: nowhere.yaml", "mine.yaml: base: no configuration file nowhere.yaml"),
        ("base: table2", "mine.yaml: base: table2 is a study of several runs"),
        ("base: [frozen]", "mine.yaml: base = .*base: frozen"),
        ("base: mine.yaml", "circular bases: mine.yaml -> mine.yaml"),
        ("base: other.yaml", "circular bases: mine.yaml -> other.yaml -> mine.yaml"),
    ],
)
def test_a_base_that_cannot_be_built_on(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    (tmp_path / "other.yaml").write_text("base: mine.yaml")
    with pytest.raises(UserError, match=f"(?s){message}"):
        resolve(str(tmp_path / "mine.yaml"))


def test_identity_leaves_out_where_a_run_is_executed() -> None:
    base = validate({})
    moved = validate(
        {
            "data": {"dir": "/elsewhere"},
            "compute": {"accelerator": "cpu", "compile": "default"},
            "training": {"eval_batch_size": 3},
            "tracking": {"mode": "none"},
        }
    )
    assert identity(base) == identity(moved)
    assert identity(base) != identity(validate({"model": {"width": 16}}))
    # Dropout masks of training are drawn by device: with another number of them it would be another run.
    assert identity(base) != identity(validate({"compute": {"devices": 2}}))
    assert set(identity(base)) < set(flatten(base))


def test_the_page_of_settings_is_up_to_date() -> None:
    docs = Path(__file__).parents[1] / "docs"
    spec = importlib.util.spec_from_file_location("make_configuration", docs / "make_configuration.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (docs / "configuration.md").read_text(encoding="utf-8") == module.text()


def test_consistency_is_off_by_itself_where_nothing_chooses_the_pseudo_pool() -> None:
    assert resolve(None).loss.consistency
    assert not resolve("demo", flags={"active.strategy": "random"}).loss.consistency
    assert not resolve(None, ["active.strategy=coreset"]).loss.consistency
    assert resolve(None, ["active.strategy=entropy"]).loss.consistency
    assert resolve(None, ["active.strategy=random", "active.pseudo_by=entropy_mcd"]).loss.consistency
    asked = resolve(None, ["active.strategy=random"], {"loss.consistency": True})
    assert asked.loss.consistency, "what is asked for is refused later, with the cure"
    assert identity(resolve(None, ["active.strategy=random"])) == identity(
        resolve(None, ["active.strategy=random", "loss.consistency=false"])
    )
