"""Mean Teacher: the network agrees with a moving average of its own weights."""

import copy

import torch
from torch import Tensor, nn

from kneeal.nn.ssl.method import Method, Step, register


@register("mean_teacher")
class MeanTeacher(Method):
    """Mean squared difference between the probabilities of the network and of a teacher, over D_L and U.

    The teacher's weights are an exponential moving average of the network's. It sees the other view, with dropout, and
    passes no gradient. The network, not the teacher, is validated and kept.

    Args:
        decay: Of the average, in [0, 1); lower in the first steps: min(decay, 1 - 1 / (step + 1)).
    """

    source = "Tarvainen and Valpola, Mean Teachers Are Better Role Models, NeurIPS 2017"
    compares_views = False
    teacher: nn.Module

    def __init__(self, *, decay: float = 0.99) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must be in [0, 1) but got {decay=}.")
        self.decay = decay
        self.n_steps = 0

    def started(self, network: nn.Module) -> None:
        """Start the teacher as a copy of the network."""
        self.teacher = copy.deepcopy(network).requires_grad_(False).train()
        self.n_steps = 0

    @torch.no_grad()
    def stepped(self, network: nn.Module) -> None:
        """Move the teacher toward the network; buffers, such as norm statistics, are copied."""
        self.n_steps += 1
        decay = min(self.decay, 1.0 - 1.0 / (self.n_steps + 1))
        for mean, now in zip(self.teacher.parameters(), network.parameters(), strict=True):
            mean.lerp_(now.detach(), 1.0 - decay)
        for kept, buffer in zip(self.teacher.buffers(), network.buffers(), strict=True):
            kept.copy_(buffer)

    def forward(self, step: Step) -> Tensor:
        """In [0, 2 / C]."""
        with torch.no_grad():
            views = step.knees.transpose(0, 1)
            second_view, first_view = self.teacher(views[1]).logits, self.teacher(views[0]).logits
        pairs = ((step.first.logits, second_view), (step.second.logits, first_view))
        losses = [(student.softmax(-1) - teacher.softmax(-1)).square().mean() for student, teacher in pairs]
        return torch.stack(losses).mean()
