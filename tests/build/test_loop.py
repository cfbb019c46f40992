"""From a configuration to the parts of a run: everything is checked, built once, and nothing is written."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from helpers.commands import QUICK, done, kneeal, refused

from kneeal import acquisition
from kneeal.build import network
from kneeal.nn import ssl


def test_each_thing_is_built_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: Counter[str] = Counter()

    def counting(module: object, name: str) -> None:
        make = getattr(module, name)

        @functools.wraps(make)
        def counted(*args: object, **options: object) -> object:
            built[name if module is network else str(args[0])] += 1
            return make(*args, **options)

        monkeypatch.setattr(module, name, counted)

    counting(acquisition, "get")
    counting(ssl, "get")
    counting(network, "SiameseKneeNet")
    run = tmp_path / "run"
    done("ask", run, "--config", "paper", "--strategy", "mi_mcd", "--ssl", "--data", data, *QUICK)
    # The network that is checked for dropout; the first query needs none.
    assert built == {"mi_mcd": 1, "random": 1, "consistency": 1, "SiameseKneeNet": 1}
    built.clear()
    done("ask", tmp_path / "frozen", "--data", data, *QUICK, "--set", "active.options={}")
    # The network that is checked is the one whose features make the first query.
    assert (built["max_herding"], built["SiameseKneeNet"]) == (2, 1)


@pytest.mark.parametrize(
    ("setting", "messages"),
    [
        ("loss.method=fixmach", ["no semi-supervised method", "did you mean 'fixmatch'?"]),
        ("loss.options={threshold: 2}", ["threshold", "options of the method: target"]),
        ("posterior.method=ensembl", ["no posterior", "did you mean 'ensemble'?"]),
        ("active.budget=5", ["budget of at least n_init"]),
        ("training.init=none.ckpt", ["training.init = none.ckpt"]),
        ("model={backbone: nix, classifier_dropout: 0.1}", ["no backbone of torchvision called 'nix'"]),
        ("model={dropout: 0, classifier_dropout: 0}", ["without dropout"]),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    setting: str, messages: list[str], data: Path, tmp_path: Path
) -> None:
    for command in (["fit", "--out", tmp_path / "run"], ["ask", tmp_path / "run"]):
        refused(
            kneeal(*command, "--config", "paper", "--strategy", "mi_mcd", "--data", data, *QUICK, "--set", setting),
            *messages,
        )
        assert not (tmp_path / "run").exists()


def test_a_strategy_of_a_file_is_tried_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from kneeal.acquisition import Posterior, Strategy\n"
        "class Mine(Strategy):\n"
        "    posterior = Posterior.POINT\n"
        "    def score(self, predictions):\n"
        "        return [0.0] * len(predictions)\n"
    )
    given = ("--strategy", f"{tmp_path}/mine.py:Mine", "--set", "active.options={}", "--out", tmp_path / "run")
    refused(kneeal("fit", "--data", data, *QUICK, *given), "mine.py:Mine: score returned list", "a tensor [N]")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        (["posterior.method=laplace", "active.options.n_samples=201"], ["n_samples = 201", "at most 200"]),
        (
            ["posterior.method=tta", "model.freeze=group1", "views.kept=1", "loss.consistency=false"],
            ["views.kept = 1", "raise views.kept to 2"],
        ),
        (
            [
                *("active.strategy=margin", "active.options={}", "model.dropout=0", "model.classifier_dropout=0"),
                "active.constraints=[{name: mix, strategy: mi_mcd, share: 0.5}]",
            ],
            ["without dropout"],
        ),
        (["active.strategy=margin", "active.options={}", "model={backbone: resnet99}"], ["'resnet99'"]),
    ],
)
def test_samples_that_cannot_be_drawn_are_refused_before_the_first_fit(
    settings: list[str], messages: list[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "laplace", ModuleType("laplace"))
    given = [part for setting in settings for part in ("--set", setting)]
    refused(kneeal("fit", "--out", tmp_path / "run", "--data", data, *QUICK, *given), *messages)
    assert not (tmp_path / "run").exists()
