from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneeal.data.batches import ShuffledBatches
from kneeal.errors import UserError


@given(n=st.integers(1, 70), per_device=st.integers(1, 8), world_size=st.integers(1, 4), seed=st.integers(0, 9))
def test_devices_together_see_the_batches_that_one_device_sees(
    n: int, per_device: int, world_size: int, seed: int
) -> None:
    batch_size = per_device * world_size
    alone = list(ShuffledBatches(n, batch_size, seed=seed))
    shares = [list(ShuffledBatches(n, batch_size, seed=seed, rank=r, world_size=world_size)) for r in range(world_size)]
    assert {len(share) for share in shares} == {len(alone)}
    for batch, *parts in zip(alone, *shares, strict=True):
        together = [draw for part in parts for draw in part]
        assert set(together) == set(batch)
        assert len({len(part) for part in parts}) == 1, "every device gets as many"
        assert len(together) - len(batch) < world_size


def test_an_epoch_holds_every_knee_once_and_drops_none() -> None:
    batches = ShuffledBatches(50, 32, seed=0)
    epoch = list(batches)
    assert [len(batch) for batch in epoch] == [32, 18]
    assert len(batches) == 2
    assert Counter(position for batch in epoch for position, _ in batch) == Counter(range(50))


def test_fewer_knees_than_a_batch_still_give_a_step() -> None:
    assert [len(batch) for batch in ShuffledBatches(3, 32, seed=0)] == [3]


def test_epochs_differ_and_a_seed_repeats_them() -> None:
    first, second = ShuffledBatches(20, 4, seed=1), ShuffledBatches(20, 4, seed=1)
    epochs = [list(first), list(first)]
    assert epochs[0] != epochs[1]
    assert epochs == [list(second), list(second)]
    assert list(ShuffledBatches(20, 4, seed=2)) != epochs[0]


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(UserError, match="an empty training set"):
        ShuffledBatches(0, 8, seed=0)


def test_balanced_batches_hold_every_grade_that_occurs_equally_often() -> None:
    grades = [0] * 30 + [1] * 2 + [4] * 8
    batches = ShuffledBatches(40, 12, seed=3, grades=grades)
    epochs = [list(batches) for _ in range(20)]
    assert [[len(batch) for batch in epoch] for epoch in epochs] == [[12, 12, 12, 4]] * 20
    for epoch in epochs:
        for batch in epoch[:3]:
            assert Counter(grades[position] for position, _ in batch) == {0: 4, 1: 4, 4: 4}
    assert {position for epoch in epochs for batch in epoch for position, _ in batch} == set(range(40))
    assert list(ShuffledBatches(40, 12, seed=3, grades=grades)) == epochs[0]
