from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.pools import pool
from torch import Tensor

from kneeal import acquisition
from kneeal.acquisition import Posterior, Predictions, Strategy, measures
from kneeal.acquisition import registry as registry_module
from kneeal.errors import UserError


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "registered", dict(registry_module.registered))


class Mine(Strategy):
    """One of a user's own.

    More about it.
    """

    posterior = Posterior.NONE
    source = "a notebook"

    def __init__(self, *, power: float = 1.0) -> None:
        if power <= 0:
            raise ValueError("power must be above 0")

    def score(self, predictions: Predictions) -> Tensor:
        return torch.zeros(len(predictions))


def test_the_papers_five_are_there() -> None:
    assert {"random", "least_confidence", "entropy", "entropy_mcd", "mi_mcd"} <= set(acquisition.available())


def test_registering_makes_a_name_known() -> None:
    acquisition.register("mine")(Mine)
    assert "mine" in acquisition.available()
    assert isinstance(acquisition.get("mine", power=2.0), Mine)
    info = acquisition.describe("mine")
    assert (info.summary, info.strategy.source, info.options) == ("One of a user's own.", "a notebook", {"power": 1.0})


def test_a_name_is_given_once() -> None:
    with pytest.raises(UserError, match="two strategies called 'entropy'"):
        acquisition.register("entropy")(Mine)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError) as error:
        acquisition.get("mi_mdc")
    assert "did you mean 'mi_mcd'?" in error.value.cure
    assert "entropy_mcd" in error.value.expected


def test_options_are_checked() -> None:
    acquisition.register("mine")(Mine)
    with pytest.raises(UserError, match=r"(?s)option pwoer.*only: power=1\.0"):
        acquisition.get("mine", pwoer=2)
    with pytest.raises(UserError, match="power must be above 0"):
        acquisition.get("mine", power=-1)
    with pytest.raises(UserError, match="no options"):
        acquisition.get("random", n_samples=3)


FILE = """
from dataclasses import dataclass

from kneeal.acquisition import measures
from kneeal.acquisition import Posterior, Strategy

@dataclass
class Options:
    power: float

class Mine(Strategy):
    \"\"\"Mine.\"\"\"

    posterior = Posterior.POINT
    source = "a file"

    def __init__(self, *, power=1.0):
        self.options = Options(power)

    def score(self, predictions):
        return measures.entropy(predictions.require_log_probs()) ** self.options.power
"""


def test_a_strategy_of_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    name = f"{tmp_path}/mine.py:Mine"
    strategy = acquisition.get(name, power=2.0)
    assert type(strategy) is type(acquisition.get(name)), "the file is read once"
    assert (str(strategy), strategy.needs.posterior) == (name, Posterior.POINT)
    assert strategy.score(pool(5)).tolist() == pytest.approx(
        (measures.entropy(pool(5).require_log_probs()) ** 2).tolist()
    )
    info = acquisition.describe(name)
    assert (info.options, info.kind) == ({"power": 1.0}, "Uncertainty: the highest scores")
    with pytest.raises(UserError, match="option pwr for the strategy"):
        acquisition.get(name, pwr=1)


def test_a_file_that_holds_no_such_strategy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    with pytest.raises(UserError, match=r"(?s)no strategy 'Yours' in .*one of: Mine"):
        acquisition.get(f"{tmp_path}/mine.py:Yours")
    with pytest.raises(UserError, match=r"no file .*gone\.py"):
        acquisition.get(f"{tmp_path}/gone.py:Mine")
    (tmp_path / "bad.py").write_text("x = 1\ny = 1 / 0\n")
    with pytest.raises(UserError, match=r"bad\.py, line 2: ZeroDivisionError"):
        acquisition.get(f"{tmp_path}/bad.py:Mine")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(UserError, match=r"exits\.py, line 1: SystemExit: 3"):
        acquisition.get(f"{tmp_path}/exits.py:Mine")
    with pytest.raises(UserError, match=r"(?s)mine\.py without a class.*mine\.py:Mine"):
        acquisition.get(f"{tmp_path}/mine.py")
    (tmp_path / "half.py").write_text(FILE.replace("posterior = Posterior.POINT", "").replace("def score", "def scor"))
    with pytest.raises(UserError, match=r"the strategy Mine in .*half\.py lacks score and posterior"):
        acquisition.get(f"{tmp_path}/half.py:Mine")
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(UserError, match="a file with a subclass"):
        acquisition.get(f"{tmp_path}/empty.py:x")


def test_importing_acquisition_is_cheap() -> None:
    code = (
        "import sys, kneeal.acquisition\n"
        "heavy = {'pytorch_lightning', 'lightning', 'pandas', 'wandb', 'cv2', 'pydicom', 'torchmetrics', 'pydantic',"
        " 'albumentations', 'matplotlib', 'torchvision', 'typer'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_has_a_row_for_every_strategy_with_what_it_needs() -> None:
    page = (Path(__file__).parents[2] / "docs/strategies.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    said = {row[0].strip("`"): row for row in cells}
    ours = {name for name, strategy in registry_module.registered.items() if strategy.__module__.startswith("kneeal.")}
    assert set(said) == ours
    for name in ours:
        info = acquisition.describe(name)
        assert said[name][1] == info.needs, name
        assert said[name][2].startswith("yes") == info.strategy.batch_aware, name
        assert all(said[name]), name
