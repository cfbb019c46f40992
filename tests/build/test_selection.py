from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.knees import pairs, table

from kneeal.acquisition import get
from kneeal.build.network import make_network
from kneeal.build.run_folder import run_name
from kneeal.build.selection import constrain, first_query, make_strategies
from kneeal.config import validate
from kneeal.data.manifest import check_manifest
from kneeal.errors import UserError
from kneeal.loop.query import random_first_query

MANIFEST = check_manifest(table(30), "here")
DATASET = SimpleNamespace(manifest=MANIFEST, patches=pairs(60, 32), row={i: k for k, i in enumerate(MANIFEST.ids)})
COHORT = SimpleNamespace(dataset=DATASET, splits=SimpleNamespace(train=MANIFEST.ids))


def test_constraints_read_the_manifest_and_never_the_id() -> None:
    strategy = constrain(
        get("random"),
        [{"name": "max_per_group", "by": "patient_id"}, {"name": "exclude", "by": "site", "values": ["A"]}],
        MANIFEST,
        MANIFEST.ids,
        40,
    )
    from kneeal.acquisition import Predictions

    chosen = strategy.select(Predictions(MANIFEST.ids), 15, seed=0)
    assert max(Counter(MANIFEST.patients[i] for i in chosen).values()) == 1
    assert "A" not in {MANIFEST.column("site")[i] for i in chosen}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"name": "max_per_patient"}, "no constraint called 'max_per_patient'"),
        ({"name": "max_per_group", "by": "ward"}, "'ward', which the manifest does not have"),
        ({"name": "max_per_group", "by": "site", "max_knees": 0}, "max_knees = 0"),
        ({"name": "max_per_group"}, "groups"),
        ({"name": "mix", "strategy": "random"}, "mix with"),
        ({"name": "exclude", "by": "site", "values": ["A", "B", "C", "D"]}, "leave 12 of 60"),
    ],
)
def test_wrong_settings_are_said(setting: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        constrain(get("random"), [setting], MANIFEST, MANIFEST.ids, 40)


def test_the_first_query_is_random_unless_asked_otherwise() -> None:
    assert first_query(validate({}), COHORT, None, 20) is random_first_query  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["typiclust", "probcover", "kmeans", "coreset"])
def test_a_first_query_on_pixels_repeats(name: str) -> None:
    config = validate({"active": {"first_query": name, "first_features": "pixels", "budget": 60}})
    ask = first_query(config, COHORT, None, 20)  # type: ignore[arg-type]
    first = ask(MANIFEST.ids, 9, 3)
    assert len(set(first)) == 9
    assert ask(MANIFEST.ids, 9, 3) == first


def test_a_first_query_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(UserError, match="needs predictions"):
        first_query(validate({"active": {"first_query": "badge"}}), COHORT, None, 20)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="without weights"):
        first_query(validate({"active": {"first_query": "kmeans"}}), COHORT, None, 20)  # type: ignore[arg-type]


def test_a_strategy_of_a_file_names_the_run_by_its_class(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from kneeal.acquisition.uncertainty import Entropy\n\nclass Mine(Entropy):\n    'Mine.'\n")
    config = validate({"active": {"strategy": f"{file}:Mine"}})
    strategy, _ = make_strategies(config)
    assert type(strategy).__name__ == "Mine"
    assert run_name(config).startswith("Mine-cr-seed0-")


def test_init_gives_the_branch_and_leaves_the_classifier(tmp_path: Path) -> None:
    small = {"model": {"width": 2}}
    source = make_network(validate(small))
    path = tmp_path / "start.ckpt"
    torch.save({"state_dict": {f"network.{n}": w for n, w in source.state_dict().items()}}, path)
    network = make_network(validate({**small, "training": {"init": str(path)}}))
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, source.state_dict()[name]) == name.startswith("branch"), name
    for wrong in ({"model": {"width": 4}}, small):
        file = path if wrong is not small else tmp_path / "none.ckpt"
        with pytest.raises(UserError, match=r"training\.init"):
            make_network(validate({**wrong, "training": {"init": str(file)}}))
