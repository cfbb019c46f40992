from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions, bald, measures
from kneeal.acquisition.bald import Configurations, expected_predictive_information_gain
from kneeal.errors import UserError


def test_bald_is_mi_mcd() -> None:
    assert type(acquisition.get("bald")) is type(acquisition.get("mi_mcd"))
    predictions = pool(30)
    assert acquisition.get("bald").select(predictions, 5, seed=1) == acquisition.get("mi_mcd").select(
        predictions, 5, seed=1
    )


def weights(name: str, beta: float, predictions: Predictions) -> list[float]:
    """The weights that the source gives each knee."""
    scores = measures.mutual_information(predictions.require_log_probs()).tolist()
    if name == "power_bald":
        return [s**beta for s in scores]
    if name == "softmax_bald":
        return [math.exp(beta * s) for s in scores]
    ranks = {i: rank for rank, i in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i]), start=1)}
    return [ranks[i] ** -beta for i in range(len(scores))]


@pytest.mark.parametrize(("name", "beta"), [("power_bald", 1.0), ("softmax_bald", 4.0), ("softrank_bald", 1.5)])
def test_pairs_are_drawn_without_replacement_by_their_weights(name: str, beta: float) -> None:
    predictions = pool(4)
    w = weights(name, beta, predictions)
    expected = {
        (predictions.ids[i], predictions.ids[j]): w[i] / sum(w) * w[j] / (sum(w) - w[i])
        for i, j in itertools.permutations(range(4), 2)
    }
    strategy = acquisition.get(name, beta=beta)
    n = 800
    counts = Counter(strategy.select(predictions, 2, seed=seed) for seed in range(n))
    for pair, probability in expected.items():
        deviation = math.sqrt(probability * (1 - probability) / n)
        assert abs(counts[pair] / n - probability) < 5 * deviation + 1e-9, pair


def test_a_knee_without_information_is_drawn_last() -> None:
    predictions = pool(5)
    log_probs = predictions.require_log_probs().clone()
    log_probs[3] = log_probs[3, :1]  # all samples agree
    predictions = Predictions(predictions.ids, log_probs)
    for seed in range(30):
        assert acquisition.get("power_bald").select(predictions, 5, seed=seed)[-1] == "knee003"


def test_a_large_beta_takes_the_highest_scores() -> None:
    predictions = pool(40)
    top = acquisition.get("bald").select(predictions, 5, seed=0)
    assert acquisition.get("softmax_bald", beta=1e7).select(predictions, 5, seed=0) == top


@pytest.mark.parametrize("beta", [0, -1.0, "high", float("inf"), True])
def test_a_beta_that_is_none_is_refused(beta: object) -> None:
    with pytest.raises(UserError, match="beta"):
        acquisition.get("power_bald", beta=beta)


def joint_information(probs: list[list[list[float]]]) -> float:
    """I(y_1 .. y_b; w) of knees [b][K][C], by writing down every configuration."""
    n_samples, n_classes = len(probs[0]), len(probs[0][0])
    total = 0.0
    for grades in itertools.product(range(n_classes), repeat=len(probs)):
        p = sum(math.prod(knee[k][g] for knee, g in zip(probs, grades, strict=True)) for k in range(n_samples))
        p /= n_samples
        total -= p * math.log(p) if p else 0.0
    data = sum(-p * math.log(p) for knee in probs for sample in knee for p in sample if p) / n_samples
    return total - data


def greedy(predictions: Predictions, n: int) -> list[int]:
    probs = predictions.require_log_probs().exp().tolist()
    chosen: list[int] = []
    for _ in range(n):
        free = [i for i in range(len(probs)) if i not in chosen]
        chosen.append(max(free, key=lambda i: joint_information([probs[j] for j in [*chosen, i]])))
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_exact_choice_by_every_configuration(seed: int) -> None:
    predictions = pool(9, k=5, c=3, seed=seed, sharp=1.5)
    chosen = acquisition.get("batch_bald").select(predictions, 4, seed=0)
    assert rows(predictions, chosen) == greedy(predictions, 4)


def test_gain_is_what_the_joint_information_grows_by() -> None:
    predictions = pool(4, k=5, c=3)
    probs = predictions.require_log_probs().exp().tolist()
    joint = Configurations(5, 1000, torch.Generator())
    joint.extend(predictions.require_log_probs()[0])
    joint.extend(predictions.require_log_probs()[1])
    entropy = float(joint.conditional_entropy(predictions.require_log_probs()[2:3]))
    data = sum(-p * math.log(p) for sample in probs[2] for p in sample) / 5
    gain = joint_information(probs[:3]) - joint_information(probs[:2])
    assert entropy - data == pytest.approx(gain, abs=1e-6)
    assert len(joint) == 9


def test_drawn_configurations_come_near_the_exact_ones() -> None:
    predictions = pool(8, k=5, c=3, sharp=1.0)
    exact, drawn = Configurations(5, 10**6, torch.Generator()), Configurations(5, 4000, torch.Generator())
    drawn.max_configurations, drawn.generator = 20_000, torch.Generator().manual_seed(0)
    few = Configurations(5, 3**7 - 1, torch.Generator().manual_seed(0))  # one too few: drawn at the last knee
    for knee in predictions.require_log_probs()[:7]:
        exact.extend(knee)
        few.extend(knee)
    assert exact.origin is None
    assert few.origin is not None
    rest = predictions.require_log_probs()[7:]
    assert float(few.conditional_entropy(rest)) == pytest.approx(float(exact.conditional_entropy(rest)), abs=0.01)


@pytest.mark.parametrize("n_configurations", [4, 20])
def test_fewer_configurations_than_samples_are_unbiased(n_configurations: int) -> None:
    """40 posterior samples, of which the first four differ from the others."""
    predictions = pool(4, k=40, c=3, sharp=1.0)
    log_probs = predictions.require_log_probs().clone()
    log_probs[:, :4] = torch.tensor([0.98, 0.01, 0.01]).log()
    exact = Configurations(40, 10**6, torch.Generator())
    for knee in log_probs[:3]:
        exact.extend(knee)
    found = []
    for seed in range(400):
        drawn = Configurations(40, n_configurations, torch.Generator().manual_seed(seed))
        for knee in log_probs[:3]:
            drawn.extend(knee)
        found.append(float(drawn.conditional_entropy(log_probs[3:])))
    error = torch.tensor(found).std() / len(found) ** 0.5
    assert abs(sum(found) / len(found) - float(exact.conditional_entropy(log_probs[3:]))) < 4 * float(error) + 1e-4


def test_a_copy_is_not_asked_for_while_something_new_is_there() -> None:
    base = pool(3, k=8, c=3, seed=1)
    log_probs = torch.cat([base.require_log_probs(), base.require_log_probs()[:1], base.require_log_probs()[:1]])
    twins = Predictions(tuple("abcde"), log_probs)
    chosen = acquisition.get("batch_bald").select(twins, 3, seed=0)
    assert len({"a", "d", "e"} & set(chosen)) == 1


def test_lazy_evaluation_changes_nothing() -> None:
    predictions = pool(60, k=5, c=3, seed=3)
    probs = predictions.require_log_probs()
    chosen = rows(predictions, acquisition.get("batch_bald").select(predictions, 5, seed=0))
    joint = Configurations(5, 4000, torch.Generator())
    data = torch.special.entr(probs.exp()).sum(-1).mean(-1)
    for position in range(5):
        gains = joint.conditional_entropy(probs) - data
        gains[chosen[:position]] = -torch.inf
        assert int(gains.argmax()) == chosen[position]
        joint.extend(probs[chosen[position]])


def test_more_knees_than_can_be_enumerated() -> None:
    predictions = pool(50, k=5, c=3)
    strategy = acquisition.get("batch_bald", n_configurations=20, n_candidates=30)
    first, again = (strategy.select(predictions, 40, seed=4) for _ in range(2))
    assert first == again
    assert len(set(first)) == 40


def mutual_information(x: list[list[float]], y: list[list[float]]) -> float:
    """I(y; y*) of two knees [K][C] from the table of their joint probabilities."""
    k = len(x)
    joint = [[sum(x[s][a] * y[s][b] for s in range(k)) / k for b in range(len(y[0]))] for a in range(len(x[0]))]
    left = [sum(row) for row in joint]
    right = [sum(row[b] for row in joint) for b in range(len(joint[0]))]
    return sum(
        p * math.log(p / (left[a] * right[b])) for a, row in enumerate(joint) for b, p in enumerate(row) if p > 0
    )


def test_by_the_joint_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bald, "_EPIG_BLOCK", 100)
    predictions, targets = pool(12, seed=1), pool(7, seed=2)
    x, y = predictions.require_log_probs().exp().tolist(), targets.require_log_probs().exp().tolist()
    expected = [sum(mutual_information(a, b) for b in y) / len(y) for a in x]
    found = expected_predictive_information_gain(predictions.require_log_probs(), targets.require_log_probs())
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_the_pool_itself_is_to_be_predicted() -> None:
    predictions = pool(15)
    score = acquisition.get("epig").score(predictions)
    torch.testing.assert_close(
        score, expected_predictive_information_gain(predictions.require_log_probs(), predictions.require_log_probs())
    )
    part = acquisition.get("epig", n_targets=5).score(predictions)
    assert not torch.allclose(score, part)
    turned = predictions.take(list(reversed(range(15))))
    torch.testing.assert_close(acquisition.get("epig", n_targets=5).score(turned).flip(0), part)


def test_a_knee_that_says_nothing_of_others_is_not_wanted() -> None:
    """Two samples that agree everywhere but at one odd knee: BALD wants it, EPIG knows that it teaches nothing."""
    shared = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
    odd = torch.tensor([[0.95, 0.05], [0.05, 0.95], [0.95, 0.05], [0.05, 0.95]])
    log_probs = torch.stack([odd, *[shared] * 5]).log()
    predictions = acquisition.Predictions(tuple("oabcde"), log_probs)
    assert acquisition.get("bald").select(predictions, 1, seed=0) == ("o",)
    assert "o" not in acquisition.get("epig").select(predictions, 5, seed=0)
