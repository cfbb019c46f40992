from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeal.acquisition import Posterior
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.nn.network import Output, SiameseKneeNet
from kneeal.nn.ssl.consistency import Consistency
from kneeal.training.learner import Learner, Predictor


class Linear(nn.Module):
    """A network whose output is its input, so that losses have closed forms; it remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[Tensor] = []

    def forward(self, patches: Tensor) -> Output:
        self.seen.append(patches)
        flat = patches.flatten(1) * self.scale
        return Output(flat[:, :5], flat)


def batch(n_labeled: int = 3, n_pseudo: int = 2, n_views: int = 2) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    parts = {
        "labeled": {
            "views": torch.randn(n_labeled, n_views, 2, 2, 2, generator=generator),
            "kl": torch.tensor([0, 4, 2][:n_labeled]),
        }
    }
    if n_pseudo:
        parts["pseudo"] = {"views": torch.randn(n_pseudo, n_views, 2, 2, 2, generator=generator)}
    return parts


def step(learner: Learner, data: dict[str, dict[str, Tensor]]) -> float:
    return float(learner.training_step(data, 0).detach())


def test_without_consistency_the_loss_is_cross_entropy() -> None:
    data = batch(n_pseudo=0, n_views=1)
    logits = data["labeled"]["views"].flatten(1)[:, :5]
    assert step(Learner(Linear()), data) == pytest.approx(float(F.cross_entropy(logits, data["labeled"]["kl"])))


@pytest.mark.parametrize("n_pseudo", [0, 2])
def test_equation_one(n_pseudo: int) -> None:
    data = batch(n_pseudo=n_pseudo)
    knees = torch.cat([part["views"] for part in data.values()]).flatten(2)  # [n, 2, 8]
    labeled = knees[:3, :, :5]
    kl = data["labeled"]["kl"]
    ce = (F.cross_entropy(labeled[:, 0], kl) + F.cross_entropy(labeled[:, 1], kl)) / 2
    consistency = (knees[:, 0] - knees[:, 1]).square().mean()
    learner = Learner(Linear(), method=Consistency(), weight=0.7)
    assert step(learner, data) == pytest.approx(float(ce + 0.7 * consistency), rel=1e-5)


@pytest.mark.parametrize("views", [1, 2])
def test_the_arms_can_see_equal_views(views: int) -> None:
    data = batch()
    both = torch.stack([data["labeled"]["views"][:, v].flatten(1)[:, :5] for v in (0, 1)])
    losses = [float(F.cross_entropy(logits, data["labeled"]["kl"])) for logits in both]
    expected = sum(losses[:views]) / views
    naive = Learner(Linear(), views=views)
    assert step(naive, {"labeled": data["labeled"]}) == pytest.approx(expected, rel=1e-5)
    regularized = Learner(Linear(), method=Consistency(), weight=0.0, views=views)
    assert step(regularized, data) == pytest.approx(expected, rel=1e-5)


def test_all_views_go_through_the_network_together() -> None:
    network = Linear()
    step(Learner(network, method=Consistency()), batch())
    (seen,) = network.seen
    assert seen.shape == (10, 2, 2, 2)


def test_two_views_get_two_dropout_masks() -> None:
    torch.manual_seed(0)
    network = SiameseKneeNet(width=2).train()
    one_view = torch.randn(3, 1, 2, 16, 16)
    learner = Learner(network, method=Consistency(), weight=1.0)
    data = {"labeled": {"views": one_view.expand(-1, 2, -1, -1, -1), "kl": torch.tensor([0, 1, 2])}}
    torch.manual_seed(1)
    with_masks = learner.training_step(data, 0)
    network.eval()
    without = learner.training_step(data, 0)
    ce = F.cross_entropy(network(one_view[:, 0]).logits, data["labeled"]["kl"])
    torch.testing.assert_close(without, ce)
    assert float(with_masks.detach()) > float(without.detach())


def test_the_optimizer_is_the_papers() -> None:
    (optimizer,), (schedule,) = Learner(SiameseKneeNet(width=2), milestones=(2, 3)).configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["betas"] == (0.9, 0.99)
    assert optimizer.defaults["weight_decay"] == 0.0
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])


def test_predictions_have_the_samples_that_were_asked_for() -> None:
    torch.manual_seed(0)
    network = SiameseKneeNet(width=2).eval()
    data = {"patches": torch.randn(4, 2, 16, 16), "position": torch.arange(4)}
    point = Predictor(network, posterior=Posterior.POINT, features=True).predict_step(data, 0)
    torch.testing.assert_close(point["log_probs"][:, 0], network(data["patches"]).logits.log_softmax(-1))
    torch.testing.assert_close(point["features"], network(data["patches"]).features)
    samples = Predictor(network, posterior=Posterior.SAMPLES, n_samples=3, seed=5).predict_step(data, 0)
    drawn = MonteCarloDropout(network, 3, seed=5, output=lambda output: output.logits)(data["patches"])
    torch.testing.assert_close(samples["log_probs"], drawn.log_softmax(-1))
    assert set(samples) == {"position", "log_probs"}


def test_the_prior_of_an_adapted_model_lies_where_it_starts() -> None:
    network = SiameseKneeNet(width=2, head="cumulative")
    network.prior_center = {name: torch.full_like(w, 0.25) for name, w in network.named_parameters()}
    learner = Learner(network, prior=0.5)
    (optimizer,), _ = learner.configure_optimizers()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    learner.on_before_optimizer_step(optimizer)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        pull = (5.0 if name.endswith("bias") else 0.5) * (parameter - 0.25)
        # What Adam makes of the gradient.
        torch.testing.assert_close(parameter.grad + decay[id(parameter)] * parameter, 1.0 + pull)


def test_the_prior_is_a_weight_decay_tenfold_for_biases() -> None:
    learner = Learner(SiameseKneeNet(width=2, head="cumulative"), weight_decay=0.25, prior=0.5)
    (optimizer,), _ = learner.configure_optimizers()
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(learner.network.named_parameters())
    assert len(decay) == len(named) and any(name.endswith("bias") for name in named)
    for name, parameter in named.items():
        assert decay[id(parameter)] == 0.25 + (5.0 if name.endswith("bias") else 0.5)
