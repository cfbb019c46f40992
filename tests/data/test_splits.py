from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kneeal.data.manifest import Manifest, check_manifest
from kneeal.data.splits import make_splits
from kneeal.errors import UserError

Knee = tuple[str, str, str, str, str]  # patient, side, site, kl, split


def manifest(knees: list[Knee]) -> Manifest:
    frame = pd.DataFrame(knees, columns=["patient_id", "side", "site", "kl", "split"])
    return check_manifest(frame.assign(knee_id=frame["patient_id"] + "_" + frame["side"], path=""), "test")


def cohort(n_patients: int = 300, seed: int = 0, n_grades: int = 5) -> list[Knee]:
    """Patients with two correlated knees at the sites A to E; every grade occurs at every site."""
    rng = np.random.default_rng(seed)
    knees: list[Knee] = []
    for n in range(n_patients):
        worst = int(rng.integers(n_grades)) if n >= 10 * n_grades else n // 5 % n_grades
        grades = (worst, max(0, worst - int(rng.integers(2))))
        knees += [(f"{n:04}", side, "ABCDE"[n % 5], str(kl), "") for side, kl in zip("LR", grades, strict=True)]
    return knees


COHORT = cohort()


def test_the_test_set_is_the_site_and_every_knee_has_one_place() -> None:
    table = manifest(COHORT)
    splits = make_splits(table, test_site="E", seed=0)
    assert set(splits.test) == {i for i, site in table.column("site").items() if site == "E"}
    assert sorted([*splits.train, *splits.val, *splits.test]) == sorted(table.ids)
    assert splits.train == tuple(i for i in table.ids if i in set(splits.train))
    assert all(table.kl[i] == kl for i, kl in {**splits.val, **splits.test}.items())


@given(seed=st.integers(0, 10_000), fraction=st.floats(0.05, 0.6), n=st.integers(60, 200))
@settings(max_examples=40, deadline=None)
def test_no_patient_is_on_two_sides_and_every_training_grade_can_be_validated(
    seed: int, fraction: float, n: int
) -> None:
    table = manifest(cohort(n, seed))
    splits = make_splits(table, test_site="E", val_fraction=fraction, seed=seed)
    sides = [{table.patients[i] for i in knees} for knees in (splits.train, splits.val, splits.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert {table.kl[i] for i in splits.train} <= set(splits.val.values())


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_each_grade_has_its_share_in_the_validation_set(fraction: float) -> None:
    table = manifest(cohort(600, 1))
    splits = make_splits(table, test_site="E", val_fraction=fraction, seed=3)
    pool = Counter(table.kl[i] for i in table.ids if i not in splits.test)
    val = Counter(splits.val.values())
    for grade, n in pool.items():
        assert abs(val[grade] - fraction * n) <= 3
    # What rounding leaves over is carried from stratum to stratum, so it cannot add up: half a patient at most.
    assert abs(len(splits.val) - fraction * sum(pool.values())) <= 1


@pytest.mark.parametrize("shuffle", range(5))
def test_the_order_of_the_rows_does_not_matter(shuffle: int) -> None:
    order = np.random.default_rng(shuffle).permutation(240)
    one = make_splits(manifest(COHORT[:240]), test_site="E", seed=5)
    other = make_splits(manifest([COHORT[k] for k in order]), test_site="E", seed=5)
    assert (set(one.train), dict(one.val), dict(one.test)) == (set(other.train), dict(other.val), dict(other.test))


def test_the_seed_decides_and_the_global_generator_does_not() -> None:
    table = manifest(COHORT)
    np.random.seed(1)
    one = make_splits(table, test_site="E", seed=1)
    assert make_splits(table, test_site="E", seed=1) == one
    assert make_splits(table, test_site="E", seed=2).val != one.val
    assert make_splits(table, test_site="E", seed=2).test == one.test


def given_split(knees: list[Knee], names: dict[str, str]) -> list[Knee]:
    return [(p, s, site, kl, names.get(site, "")) for p, s, site, kl, _ in knees]


def test_splits_of_the_manifest_are_used() -> None:
    table = manifest(given_split(COHORT, {"A": "train", "B": "train", "C": "train", "D": "val", "E": "test"}))
    splits = make_splits(table, test_site=None, seed=0)
    assert {table.column("site")[i] for i in splits.train} == {"A", "B", "C"}
    assert {table.column("site")[i] for i in splits.val} == {"D"}
    assert {table.column("site")[i] for i in splits.test} == {"E"}


def test_without_a_given_validation_set_one_is_divided_off_the_given_training_knees() -> None:
    table = manifest(given_split(COHORT, {"A": "train", "E": "test"}))
    splits = make_splits(table, test_site=None, seed=0)
    assert {table.column("site")[i] for i in splits.val} == {"A", "B", "C", "D"}
    n_pool = len(splits.train) + len(splits.val)
    assert abs(len(splits.val) / n_pool - 0.2) < 0.02


def test_a_given_validation_set_goes_with_a_test_site() -> None:
    splits = make_splits(manifest(given_split(COHORT, {"D": "val"})), test_site="E", seed=0)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (360, 120, 120)


def test_unknown_grades_stay_in_training_and_nowhere_else() -> None:
    knees = [(p, s, site, "" if k % 3 == 0 else kl, split) for k, (p, s, site, kl, split) in enumerate(COHORT)]
    table = manifest(knees)
    splits = make_splits(table, test_site="E", seed=0)
    unknown = set(table.ids) - set(table.kl)
    assert not unknown & {*splits.val, *splits.test}
    val_or_test = {table.patients[i] for i in (*splits.val, *splits.test)}
    assert unknown & set(splits.train) == {i for i in unknown if table.patients[i] not in val_or_test}
    assert unknown & set(splits.train)


def test_a_grade_that_rounding_would_leave_out_is_validated_on_one_patient() -> None:
    # A fifth of two patients rounds to none.
    rare = [(f"r{k}", "L", "A", "4", "") for k in range(2)]
    table = manifest(cohort(100, n_grades=4) + rare)
    for seed in range(5):
        splits = make_splits(table, test_site="E", seed=seed)
        assert Counter(splits.val.values())[4] == 1
        assert sum(table.kl[i] == 4 for i in splits.train) == 1


REFUSED: dict[str, tuple[list[Knee], str | None, str]] = {
    "unknown site": (COHORT, "Z", "site Z[^$]*A, B, C, D, E"),
    "no site and no split": (COHORT, None, "no test set[^$]*A, B, C, D, E"),
    "no sites at all": ([(p, s, "", kl, "") for p, s, _, kl, _ in COHORT], "E", "no site"),
    "a patient at two sites": (
        [*COHORT, ("x1", "L", "A", "1", ""), ("x1", "R", "E", "1", "")],
        "E",
        "two splits: x1",
    ),
    "half a patient in val": (
        [*given_split(COHORT, {"E": "test"}), ("x1", "L", "A", "1", "val"), ("x1", "R", "A", "1", "")],
        None,
        "two splits: x1",
    ),
    "one patient with a grade": (
        [*cohort(100, n_grades=4), ("x1", "L", "A", "4", "")],
        "E",
        "validation knee of grade 4",
    ),
    "a grade missing in a given validation set": (
        [*given_split(cohort(100, n_grades=4), {"D": "val"}), *((f"x{k}", "L", "A", "4", "") for k in range(9))],
        "E",
        "validation knee of grade 4",
    ),
    "the test site is given for training": (given_split(COHORT, {"E": "train"}), "E", "test site is E"),
    "two test sets": (given_split(COHORT, {"D": "test"}), "E", "test site is E"),
    "nobody to train on": (
        given_split(COHORT, dict(zip("ABCDE", ["val"] * 4 + ["test"], strict=True))),
        None,
        "no training",
    ),
    "no grade to validate with": (
        [(p, s, site, kl if site == "E" else "", "") for p, s, site, kl, _ in COHORT],
        "E",
        "no validation knee",
    ),
    "no grade to test with": (
        [(p, s, site, "" if site == "E" else kl, "") for p, s, site, kl, _ in COHORT],
        "E",
        "no test knee",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_divided_is_refused(case: str) -> None:
    knees, site, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        make_splits(manifest(knees), test_site=site, seed=0)


def test_the_real_knees_are_divided_by_patient_and_grade(oai: Manifest) -> None:
    splits = make_splits(oai, test_site=None, seed=0)
    sides = [{oai.patients[i] for i in knees} for knees in (splits.train, splits.val, splits.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    val = Counter(splits.val.values())
    for grade, n in Counter(oai.kl[i] for i in (*splits.train, *splits.val)).items():
        assert abs(val[grade] / n - 0.2) < 0.01


@pytest.fixture
def oai(shared_data: Path) -> Manifest:
    root = shared_data / "oai_knees"
    return manifest(
        [
            (path.stem[:-1], path.stem[-1], "", path.parent.name, "test" if path.parts[-3] == "val" else "train")
            for path in sorted(root.glob("*/*/*.png"))
        ]
    )
