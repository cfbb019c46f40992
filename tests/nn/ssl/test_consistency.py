from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from kneeal.errors import UserError
from kneeal.nn import ssl
from kneeal.nn.network import Output
from kneeal.nn.ssl import Step, ramp_up


def loss(first: Output, second: Output, **options: str) -> Tensor:
    step = Step(nn.Identity(), torch.empty(0), first, second, torch.empty(0))
    return ssl.get("consistency", **options)(step)  # type: ignore[no-any-return]


def outputs() -> tuple[Output, Output]:
    first = Output(torch.tensor([[0.0, 0.0], [1.0, 3.0]]), torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    second = Output(torch.tensor([[2.0, 0.0], [1.0, 3.0]]), torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
    return first, second


def test_closed_forms() -> None:
    p = 1 / (1 + math.exp(-2.0))
    expected = {"features": 9 / 6, "logits": 4 / 4, "probabilities": 2 * (p - 0.5) ** 2 / 4}
    for target, value in expected.items():
        assert float(loss(*outputs(), target=target)) == pytest.approx(value)


@pytest.mark.parametrize("target", ["features", "logits", "probabilities"])
def test_zero_for_equal_views_symmetric_and_with_a_gradient_for_both(target: str) -> None:
    first, second = outputs()
    assert float(loss(first, first, target=target)) == 0.0
    assert float(loss(first, second, target=target)) == pytest.approx(float(loss(second, first, target=target)))
    tensors = [t.clone().requires_grad_() for t in (*first, *second)]
    loss(Output(*tensors[:2]), Output(*tensors[2:]), target=target).backward()
    touched = [t.grad is not None and bool(t.grad.any()) for t in tensors]
    assert touched == ([False, True, False, True] if target == "features" else [True, False, True, False])


def test_the_sum_is_equation_one_as_printed() -> None:
    d = {"features": 3, "logits": 2, "probabilities": 2}
    for target, size in d.items():
        mean, total = (float(loss(*outputs(), target=target, reduction=r)) for r in ("mean", "sum"))
        assert total == pytest.approx(size * mean)
    with pytest.raises(UserError, match="reduction"):
        ssl.get("consistency", reduction="none")


def test_unknown_target_is_refused() -> None:
    with pytest.raises(UserError, match="probabilities"):
        ssl.get("consistency", target="embedding")


def test_ramp_up_rises_to_one() -> None:
    assert ramp_up(0, 0) == 1.0
    assert ramp_up(0, 10) == pytest.approx(math.exp(-5.0))
    assert ramp_up(5, 10) == pytest.approx(math.exp(-1.25))
    assert ramp_up(10, 10) == ramp_up(400, 10) == 1.0
    values = [ramp_up(epoch, 10) for epoch in range(11)]
    assert values == sorted(values)
