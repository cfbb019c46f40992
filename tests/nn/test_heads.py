from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from kneeal.nn.heads import HEADS, Corn, Cumulative, Softmax
from kneeal.nn.network import SiameseKneeNet

KL = torch.tensor([0, 4, 2, 2, 1, 3, 0])


def outputs(name: str, n: int = 7, scale: float = 2.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, HEADS[name](5).n_outputs, generator=generator)


def probs(name: str, z: Tensor) -> Tensor:
    return HEADS[name](5).logits(z).softmax(dim=-1)


@pytest.mark.parametrize("name", HEADS)
@given(scale=st.sampled_from([0.0, 1.0, 30.0, 300.0]), seed=st.integers(0, 20))
def test_logits_are_finite_and_their_loss_has_a_gradient(name: str, scale: float, seed: int) -> None:
    head = HEADS[name](5)
    z = outputs(name, scale=scale, seed=seed).requires_grad_()
    logits = head.logits(z)
    assert bool(torch.isfinite(logits).all())
    loss = head.loss(logits, KL)
    loss.backward()
    assert float(loss.detach()) >= 0
    assert z.grad is not None and bool(torch.isfinite(z.grad).all())
    assert float(z.grad.abs().max()) > 0


def test_softmax_is_the_papers() -> None:
    z = outputs("softmax")
    head = Softmax(5)
    assert head.n_outputs == 5 and not head.bias
    assert head.logits(z) is z
    assert torch.equal(head.loss(z, KL), F.cross_entropy(z, KL))


def test_corn_multiplies_conditional_probabilities() -> None:
    z = torch.tensor([[1.0, -0.5, 2.0, 0.0]])
    s = torch.sigmoid(z[0]).tolist()
    above = [s[0], s[0] * s[1], s[0] * s[1] * s[2], s[0] * s[1] * s[2] * s[3]]
    expected = [1 - above[0], above[0] - above[1], above[1] - above[2], above[2] - above[3], above[3]]
    assert probs("corn", z)[0].tolist() == pytest.approx(expected)
    # The loss of a knee of grade 1: not above 1 among those that are at least 1, and above 0.
    terms = -math.log(s[0]) - math.log(1 - s[1])
    assert float(Corn(5).loss(Corn(5).logits(z), torch.tensor([1]))) == pytest.approx(terms)


def test_cumulative_reads_a_grade_as_the_nearest_code_word() -> None:
    z = torch.tensor([[2.0, 1.0, -0.5, -3.0]])
    s = torch.sigmoid(z[0]).tolist()
    words = [math.prod(p if j < k else 1 - p for j, p in enumerate(s)) for k in range(5)]
    assert probs("cumulative", z)[0].tolist() == pytest.approx([w / sum(words) for w in words], rel=1e-5)
    head = Cumulative(5)
    binary = [-math.log(s[0]), -math.log(1 - s[1]), -math.log(1 - s[2]), -math.log(1 - s[3])]
    assert float(head.loss(head.logits(z), torch.tensor([1]))) == pytest.approx(sum(binary), rel=1e-5)


@given(z=st.lists(st.floats(-20, 20), min_size=4, max_size=4))
def test_cumulative_outputs_in_order_give_the_number_above_one_half(z: list[float]) -> None:
    ordered = torch.tensor(sorted(z, reverse=True))
    clear = [v for v in z if abs(v) > 1e-3]
    if len(clear) == 4:
        assert int(probs("cumulative", ordered).argmax()) == sum(v > 0 for v in z)


@pytest.mark.parametrize("name", ["corn", "cumulative"])
def test_two_grades_are_logistic_regression(name: str) -> None:
    head, z = HEADS[name](2), torch.tensor([[0.7], [-1.2]])
    assert head.logits(z).softmax(-1)[:, 1].tolist() == pytest.approx(torch.sigmoid(z[:, 0]).tolist())
    kl = torch.tensor([1, 1])
    expected = F.binary_cross_entropy_with_logits(z[:, 0], kl.float())
    assert float(head.loss(head.logits(z), kl)) == pytest.approx(float(expected))


def test_losses_are_those_of_coral_pytorch() -> None:
    losses = pytest.importorskip("coral_pytorch.losses", reason="coral-pytorch is not installed (the extra bench)")
    dataset = pytest.importorskip("coral_pytorch.dataset")
    for seed in range(5):
        z = outputs("corn", n=40, seed=seed)
        kl = torch.randint(5, (40,), generator=torch.Generator().manual_seed(seed))
        corn, cumulative = Corn(5), Cumulative(5)
        levels = torch.stack([dataset.levels_from_labelbatch(kl[i : i + 1], 5)[0] for i in range(40)])
        torch.testing.assert_close(cumulative.loss(cumulative.logits(z), kl), losses.coral_loss(z, levels))
        pairs = sum(int(part.sum()) for part, _ in corn.problems(kl))  # theirs is the mean over these, not over knees
        torch.testing.assert_close(corn.loss(corn.logits(z), kl), losses.corn_loss(z, kl, 5) * pairs / len(kl))
        ours = corn.logits(z).softmax(-1).flip(-1).cumsum(-1).flip(-1)[:, 1:]  # P(y > k)
        torch.testing.assert_close(ours, torch.sigmoid(z).cumprod(dim=1))
        labels = dataset.proba_to_label(torch.sigmoid(z.sort(dim=1, descending=True).values))
        found = cumulative.logits(z.sort(dim=1, descending=True).values).argmax(dim=1)
        assert torch.equal(found, labels)


@pytest.mark.parametrize("name", HEADS)
def test_balance_is_the_loss_of_as_many_knees_of_each_class(name: str) -> None:
    """Weights do what repeating the rarer knees would do, problem by problem; CORN's classes count by their grades."""
    head = HEADS[name](3)
    kl = torch.tensor([0, 0, 0, 1, 2, 2])
    z = torch.randn(6, head.n_outputs, generator=torch.Generator().manual_seed(3))
    logits = head.logits(z)
    weights = head.balance([3, 1, 2])
    total = 0.0
    for k, (part, label) in enumerate(head.problems(kl)):
        classes = label[part].unique()
        for c in classes.tolist():
            chosen = part & (label == c)
            if name == "softmax":
                losses = F.cross_entropy(logits[chosen], kl[chosen])
            else:
                losses = F.binary_cross_entropy_with_logits(z[chosen, k], torch.full((int(chosen.sum()),), float(c)))
            share = len(kl[chosen].unique()) / 3 if name == "corn" else 1 / len(classes)
            total += float(losses) * share
    assert float(head.loss(logits, kl, weights)) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("counts", [[7, 0, 3, 0, 0], [0, 0, 0, 0, 4], [5, 0, 0, 0, 0], [1, 2, 3, 4, 5]])
def test_a_grade_not_yet_seen_breaks_nothing(name: str, counts: list[int]) -> None:
    head = HEADS[name](5)
    weights = head.balance(counts)
    assert bool(torch.isfinite(weights).all()) and bool((weights >= 0).all())
    kl = torch.repeat_interleave(torch.arange(5), torch.tensor(counts))
    z = torch.randn(len(kl), head.n_outputs).requires_grad_()
    loss = head.loss(head.logits(z), kl, weights)
    loss.backward()
    assert z.grad is not None and bool(torch.isfinite(z.grad).all())


@pytest.mark.parametrize("name", HEADS)
def test_outputs_start_where_all_grades_are_equally_probable(name: str) -> None:
    assert probs(name, HEADS[name](5).origin[None])[0].tolist() == pytest.approx([0.2] * 5)
    network = SiameseKneeNet(width=2, head=name).eval()
    features = torch.zeros(1, network.classifier.in_features)
    assert network.head.logits(network.classifier(features)).softmax(-1)[0].tolist() == pytest.approx([0.2] * 5)
    assert network.prior_center.keys() == ({"classifier.bias"} if name == "corn" else set()) and not network.head_loaded


@pytest.mark.parametrize("name", HEADS)
def test_the_network_has_the_head(name: str) -> None:
    torch.manual_seed(0)
    network = SiameseKneeNet(width=2, head=name).eval()
    assert (network.classifier.bias is None) == (name == "softmax")
    logits = network(torch.randn(3, 2, 16, 16)).logits
    assert logits.shape == (3, 5)
    torch.testing.assert_close(logits.softmax(-1).sum(-1), torch.ones(3))
