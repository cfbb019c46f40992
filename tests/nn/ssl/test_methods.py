from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeal.errors import UserError
from kneeal.nn import ssl
from kneeal.nn.network import Output, SiameseKneeNet
from kneeal.nn.ssl import Method, Step
from kneeal.training.learner import Learner


class Scaled(nn.Module):
    """Logits that are the input times a weight, so that losses have closed forms."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, patches: Tensor) -> Output:
        flat = patches.flatten(1) * self.scale
        return Output(flat[:, :5], flat)


def step(network: nn.Module, n: int = 4, seed: int = 0) -> Step:
    knees = torch.randn(n, 2, 2, 2, 2, generator=torch.Generator().manual_seed(seed))
    views = knees.transpose(0, 1)
    return Step(network, knees, network(views[0]), network(views[1]), torch.tensor([0, 3]))


def test_what_there_is() -> None:
    ours = {"consistency", "fixmatch", "mean_teacher", "pi_model", "pseudo_label", "semixup"}
    assert ours <= set(ssl.available())
    with pytest.raises(UserError, match=r"(?s)'fixmach'.*did you mean 'fixmatch'"):
        ssl.get("fixmach")
    with pytest.raises(UserError, match="treshold"):
        ssl.get("fixmatch", treshold=0.5)
    for name, option, values in (
        ("fixmatch", "threshold", (2, math.nan)),
        ("mean_teacher", "decay", (1.0, math.nan)),
        ("semixup", "alpha", (0, math.nan)),
        ("semixup", "interpolation", (-1, math.nan)),
    ):
        for value in values:
            with pytest.raises(UserError, match=option):
                ssl.get(name, **{option: value})


@pytest.mark.parametrize("name", ssl.available())
def test_each_gives_a_loss_with_a_gradient_and_names_its_source(name: str) -> None:
    network = Scaled()
    method = ssl.get(name, **({"threshold": 0.0} if name in ("fixmatch", "pseudo_label") else {}))
    method.started(network)
    loss = method(step(network))
    loss.backward()
    assert float(loss.detach()) > 0
    assert network.scale.grad is not None
    assert float(network.scale.grad) != 0
    assert method.source


def test_pi_model() -> None:
    s = step(Scaled())
    p, q = s.first.logits.softmax(-1), s.second.logits.softmax(-1)
    assert float(ssl.get("pi_model")(s)) == pytest.approx(float(((p - q) ** 2).sum() / 20))


def test_fixmatch_counts_sure_knees_alone() -> None:
    s = step(Scaled())
    probs = s.first.logits.softmax(-1)
    threshold = float(probs.max(dim=1).values.sort().values[1:3].mean())  # two knees are above
    expected = [
        -float(s.second.logits[i].log_softmax(-1)[probs[i].argmax()]) for i in range(4) if probs[i].max() >= threshold
    ]
    assert len(expected) == 2
    assert float(ssl.get("fixmatch", threshold=threshold)(s)) == pytest.approx(sum(expected) / 4)


def test_fixmatch_passes_no_gradient_through_the_label() -> None:
    first = torch.zeros(1, 5, requires_grad=True)
    second = torch.zeros(1, 5, requires_grad=True)
    s = Step(Scaled(), torch.zeros(1, 2, 2, 2, 2), Output(first, first), Output(second, second), torch.tensor([0]))
    ssl.get("fixmatch", threshold=0.0)(s).backward()
    assert first.grad is None
    assert second.grad is not None


def test_pseudo_label_is_each_views_own() -> None:
    s = step(Scaled())
    expected = [F.cross_entropy(v.logits, v.logits.argmax(1)) for v in (s.first, s.second)]
    assert float(ssl.get("pseudo_label", threshold=0.0)(s)) == pytest.approx(float(sum(expected) / 2))


def test_the_teacher_is_the_moving_mean() -> None:
    network, method = Scaled(), ssl.get("mean_teacher", decay=0.75)
    method.started(network)
    mean = 1.0
    for number, value in enumerate((3.0, 5.0, -1.0, 2.0, 7.0), start=1):
        with torch.no_grad():
            network.scale.fill_(value)
        method.stepped(network)
        decay = min(0.75, 1 - 1 / (number + 1))
        mean = decay * mean + (1 - decay) * value
        assert float(method.teacher.scale) == pytest.approx(mean)  # type: ignore[arg-type]
    s = step(network)
    with torch.no_grad():
        teacher = [(s.knees[:, v].flatten(1) * mean)[:, :5].softmax(-1) for v in (0, 1)]
    expected = (
        (s.first.logits.softmax(-1) - teacher[1]).square().mean()
        + (s.second.logits.softmax(-1) - teacher[0]).square().mean()
    ) / 2
    loss = method(s)
    assert float(loss) == pytest.approx(float(expected))
    loss.backward()
    assert method.teacher.scale.grad is None  # type: ignore[union-attr]


def test_semixup_of_a_linear_map_interpolates_exactly() -> None:
    class Probabilities(nn.Module):
        """Log-probabilities whose softmax is linear in the input."""

        def forward(self, patches: Tensor) -> Output:
            p = 0.2 + 0.01 * patches.flatten(1)[:, :5]
            p = torch.cat([p[:, :4], 1 - p[:, :4].sum(1, keepdim=True)], dim=1)
            return Output(p.log(), p)

    torch.manual_seed(0)
    s = step(Probabilities())
    agreement = (s.first.features - s.second.features).square().mean()
    assert float(ssl.get("semixup")(s)) == pytest.approx(float(agreement), rel=1e-4)
    curved = step(Scaled())
    assert float(ssl.get("semixup")(curved)) > float(ssl.get("semixup", interpolation=0)(curved))


def test_the_learner_adds_the_method_with_its_weight_and_steps_it() -> None:
    class Seven(Method):
        source = "here"
        calls: list[str]

        def __init__(self) -> None:
            super().__init__()
            self.calls = []

        def started(self, network: nn.Module) -> None:
            self.calls.append("started")

        def stepped(self, network: nn.Module) -> None:
            self.calls.append("stepped")

        def forward(self, step: Step) -> Tensor:
            assert step.knees.shape == (5, 2, 2, 2, 2)
            assert len(step.kl) == 3
            return torch.tensor(7.0)

    generator = torch.Generator().manual_seed(0)
    batch = {
        "labeled": {"views": torch.randn(3, 2, 2, 2, 2, generator=generator), "kl": torch.tensor([0, 4, 2])},
        "pseudo": {"views": torch.randn(2, 2, 2, 2, 2, generator=generator)},
    }
    method = Seven()
    with_method = Learner(Scaled(), method=method, weight=0.5)
    plain = Learner(Scaled())
    difference = with_method.training_step(copy.deepcopy(batch), 0) - plain.training_step(batch, 0)
    assert float(difference.detach()) == pytest.approx(3.5)
    with_method.on_fit_start()
    with_method.on_train_batch_end(None, batch, 0)
    assert method.calls == ["started", "stepped"]


def test_a_teacher_is_neither_trained_nor_kept() -> None:
    network, method = SiameseKneeNet(width=2), ssl.get("mean_teacher")
    learner = Learner(network, method=method)
    learner.on_fit_start()
    (optimizer,), _ = learner.configure_optimizers()
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in network.parameters()}
    assert all(not p.requires_grad for p in method.parameters())
