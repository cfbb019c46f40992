from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from knees import table

from kneeal.data.manifest import Manifest, check_manifest
from kneeal.data.splits import make_splits
from kneeal.errors import UserError


def manifest(frame: pd.DataFrame) -> Manifest:
    return check_manifest(frame, "the test's manifest")


@settings(max_examples=30)
@given(n=st.integers(60, 160), cohort=st.integers(0, 20), seed=st.integers(0, 20))
def test_patients_are_never_torn_and_grades_are_stratified(n: int, cohort: int, seed: int) -> None:
    knees = manifest(table(n, cohort))
    splits = make_splits(knees, test_site="E", seed=seed)
    places = [{knees.patients[i] for i in part} for part in (splits.train, splits.val, splits.test)]
    assert not places[0] & places[1] and not places[0] & places[2] and not places[1] & places[2]
    assert len(splits.train) + len(splits.val) + len(splits.test) == len(knees)
    assert {knees.sites[i] for i in splits.test} == {"E"}
    assert "E" not in {knees.sites[i] for i in (*splits.train, *splits.val)}
    assert abs(len(places[1]) / (len(places[0]) + len(places[1])) - 0.2) < 0.07
    grades = Counter(knees.kl[i] for i in splits.train) + Counter(splits.val.values())
    for grade, n_knees in grades.items():
        share = sum(kl == grade for kl in splits.val.values()) / n_knees
        assert abs(share - 0.2) < 0.2 or n_knees < 12


def test_a_seed_repeats_the_division_whatever_the_order_of_the_rows() -> None:
    frame = table(80)
    splits = make_splits(manifest(frame), test_site="E", seed=3)
    shuffled = make_splits(manifest(frame.sample(frac=1, random_state=0)), test_site="E", seed=3)
    assert set(splits.train) == set(shuffled.train)
    assert dict(splits.val) == dict(shuffled.val)
    assert set(make_splits(manifest(frame), test_site="E", seed=4).val) != set(splits.val)


def test_given_splits_are_kept() -> None:
    frame = table(60)
    frame["split"] = ["train"] * 60 + ["val"] * 30 + ["test"] * 30
    splits = make_splits(manifest(frame), test_site=None)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (60, 30, 30)


def test_validation_is_divided_off_where_only_a_test_set_is_given() -> None:
    frame = table(60)
    frame["split"] = ["train"] * 90 + ["test"] * 30
    splits = make_splits(manifest(frame), test_site=None)
    assert len(splits.test) == 30
    assert 10 < len(splits.val) < 26


def test_unknown_grades_stay_in_the_pool_and_out_of_the_evaluation() -> None:
    frame = table(80)
    frame.loc[::7, "kl"] = ""
    knees = manifest(frame)
    splits = make_splits(knees, test_site="E")
    unknown = {i for i in knees.ids if i not in knees.kl}
    assert unknown & set(splits.train)
    assert not unknown & {*splits.val, *splits.test}


def test_a_patient_at_two_sites_is_refused() -> None:
    frame = table(60)
    frame.loc[0, "site"] = "E"
    with pytest.raises(UserError, match="patients in two splits: 9000000"):
        make_splits(manifest(frame), test_site="E")


def test_no_test_set_names_the_sites() -> None:
    with pytest.raises(UserError, match=r"(?s)no test set.*site F.*A, B, C, D, E.*data\.test_site"):
        make_splits(manifest(table(60)), test_site="F")
    with pytest.raises(UserError, match="since they have no site"):
        make_splits(manifest(table(60, sites="")), test_site=None)


def test_a_grade_that_no_validation_knee_has_is_refused() -> None:
    frame = table(60)
    frame["kl"] = ["0", "1"] * 60
    frame.loc[0, "kl"] = "4"
    with pytest.raises(UserError, match=r"no validation knee of grade 4"):
        make_splits(manifest(frame), test_site="E")


def test_a_rare_grade_that_two_patients_have_is_on_both_sides() -> None:
    frame = table(60)
    frame["kl"] = ["0", "1"] * 60
    frame.loc[[0, 2], "kl"] = "4"
    splits = make_splits(manifest(frame), test_site="E")
    assert sum(kl == 4 for kl in splits.val.values()) == 1
