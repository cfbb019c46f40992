from __future__ import annotations

import numpy as np
import pytest

from kneeal.data.views import Views, normalize, resize


@pytest.fixture
def pair() -> np.ndarray:
    ramp = np.linspace(20, 230, 32 * 32).reshape(32, 32)
    return np.stack([ramp, ramp.T]).astype(np.uint8)


def test_a_view_is_a_function_of_the_pair_and_the_seed(pair: np.ndarray) -> None:
    views, others = Views(32), Views(32)
    before = pair.copy()
    others(pair, 99)
    assert np.array_equal(views(pair, 3), others(pair, 3))
    assert not np.array_equal(views(pair, 3), views(pair, 4))
    assert np.array_equal(pair, before)
    assert views(pair, 3).shape == (2, 32, 32)
    assert views(pair, 3).dtype == np.uint8


def test_without_any_change_the_view_is_the_pair(pair: np.ndarray) -> None:
    still = Views(32, rotation=0.0, pad=0.0, gamma_p=0.0, noise_p=0.0)
    assert np.array_equal(still(pair, 0), pair)


def test_gamma_stays_in_its_range_and_comes_as_often_as_said() -> None:
    grey = np.full((2, 16, 16), 128, np.uint8)
    views = Views(16, rotation=0.0, pad=0.0, gamma_p=0.5, noise_p=0.0)
    values = np.array([views(grey, seed)[0, 0, 0] for seed in range(400)]) / 255
    exponents = np.log(values) / np.log(128 / 255)
    assert exponents.min() > 0.48
    assert exponents.max() < 1.52
    assert exponents.std() > 0.1
    assert 0.4 < np.mean(np.abs(exponents - 1) < 0.01) < 0.6


def test_rotation_and_shift_stay_in_their_ranges() -> None:
    dot = np.zeros((2, 101, 101), np.uint8)
    dot[:, 48:53, 88:93] = 255  # 40 px to the right of the centre

    def places(views: Views) -> np.ndarray:
        found = []
        for seed in range(200):
            rows, columns = np.nonzero(views(dot, seed)[0] > 60)
            found.append((columns.mean() - 50, rows.mean() - 50))
        return np.array(found)

    turned = places(Views(101, rotation=10.0, pad=0.0, gamma_p=0.0, noise_p=0.0))
    angles = np.degrees(np.arctan2(turned[:, 1], turned[:, 0]))
    assert 9.0 < np.abs(angles).max() < 10.6
    assert abs(angles.mean()) < 1.5
    moved = places(Views(101, rotation=0.0, pad=0.05, gamma_p=0.0, noise_p=0.0)) - [40, 0]
    assert np.abs(moved).max() <= 5.01
    assert (np.abs(moved).max(axis=0) > 4).all()


def test_noise_has_the_said_deviation() -> None:
    grey = np.full((2, 64, 64), 128, np.uint8)
    views = Views(64, rotation=0.0, pad=0.0, gamma_p=0.0, noise_std=(0.05, 0.05), noise_p=1.0)
    assert views(grey, 0).std() == pytest.approx(0.05 * 255, rel=0.05)


def test_normalize_maps_bytes_to_minus_one_and_one() -> None:
    assert normalize(np.array([[[0, 255]]], np.uint8)).tolist() == [[[-1.0, 1.0]]]
    value = 77
    assert normalize(np.array([value], np.uint8))[0] == pytest.approx((value / 255 - 0.5) / 0.5, abs=1e-6)


def test_resize_averages_and_keeps_what_has_the_size(pair: np.ndarray) -> None:
    half = resize(pair, 16)
    assert half.shape == (2, 16, 16)
    assert half[0, 0, 0] == pytest.approx(pair[0, :2, :2].mean(), abs=1)
    assert np.array_equal(resize(pair, 32), pair)


def test_the_parts_of_a_view_are_independent() -> None:
    grey = np.full((2, 24, 24), 128, np.uint8)
    views = Views(24, rotation=0.0, pad=0.0)
    drawn = np.stack([views(grey, seed) for seed in range(300)]).astype(float)
    noise = drawn.std(axis=(1, 2, 3)) > 1
    gamma = np.abs(drawn.mean(axis=(1, 2, 3)) - 128) > 3
    assert 0.4 < noise.mean() < 0.6
    assert abs(np.corrcoef(noise, gamma)[0, 1]) < 0.2

    dot = np.zeros((2, 101, 101), np.uint8)
    dot[:, 48:53, 88:93] = 255
    moves = Views(101, gamma_p=0.0, noise_p=0.0)
    places = np.array([[axis.mean() for axis in np.nonzero(moves(dot, seed)[0] > 60)] for seed in range(300)])
    # The angle moves the dot up and down, the crop both ways.
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.2
