"""From the outputs of the last layer to grades, and the loss that trains them.

Every head gives logits [N, C] whose softmax are the probabilities of the grades, and its loss is a function of these
logits, so strategies, posteriors, semi-supervised methods and metrics do not depend on the head.

Notation: z [N, H] outputs, K = C - 1 thresholds, y in {0, ..., K} grades, sigma the logistic function.

References:
    Shi, Cao and Raschka, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based on Conditional
    Probabilities", Pattern Analysis and Applications 26, 2023 (CORN).
    Frank and Hall, "A Simple Approach to Ordinal Classification", ECML 2001 (one binary problem per threshold).
    Allwein, Schapire and Singer, "Reducing Multiclass to Binary", JMLR 1, 2000 (decoding by code words).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F


class Head(ABC):
    """Turns outputs of the last layer into grades.

    Args:
        n_grades: Number of grades C, at least 2.

    Attributes:
        n_outputs: Outputs H of the last layer.
        bias: Whether the last layer has a bias.
        origin: [H], the outputs that make all grades equally probable.
    """

    bias: ClassVar[bool] = True

    def __init__(self, n_grades: int) -> None:
        self.n_grades = n_grades
        self.n_outputs = n_grades - 1
        self.origin = torch.zeros(n_grades - 1)

    @abstractmethod
    def logits(self, z: Tensor) -> Tensor:
        """From outputs [..., H] to logits [..., C], finite for finite outputs."""

    @abstractmethod
    def loss(self, logits: Tensor, kl: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of N graded knees, a scalar of 0 or more.

        Args:
            logits: [N, C] of this head.
            kl: Grades, int64 [N].
            weights: From `balance`; None weights all knees equally.
        """

    @abstractmethod
    def balance(self, counts: Sequence[int]) -> Tensor:
        """Weights that make up for rare grades: as much weight for each class, or for each grade in it.

        Args:
            counts: Labeled knees of each grade, C numbers; 0 is allowed.
        """

    @abstractmethod
    def problems(self, kl: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The classification problems that the outputs solve, for knees of known grades.

        Args:
            kl: int64 [N].

        Returns:
            For each problem, which knees take part, bool [N], and the class of every knee: either one problem of C
            classes on all outputs, or one binary problem per output, which is the log-odds of class 1.
        """


class Softmax(Head):
    """One output per grade, as in the paper: cross-entropy."""

    bias = False

    def __init__(self, n_grades: int) -> None:
        super().__init__(n_grades)
        self.n_outputs = n_grades
        self.origin = torch.zeros(n_grades)

    def logits(self, z: Tensor) -> Tensor:
        """The outputs themselves."""
        return z

    def loss(self, logits: Tensor, kl: Tensor, weights: Tensor | None = None) -> Tensor:
        """Cross-entropy, the mean over the knees."""
        if weights is None:
            return F.cross_entropy(logits, kl)
        return (F.cross_entropy(logits, kl, reduction="none") * weights[kl]).mean()

    def balance(self, counts: Sequence[int]) -> Tensor:
        """[C]: n / (C' n_c) for each of the C' grades that occur; the mean over the n knees is 1."""
        return _inverse_frequency(torch.tensor(counts))

    def problems(self, kl: Tensor) -> list[tuple[Tensor, Tensor]]:
        """One problem of C classes."""
        return [(torch.ones_like(kl, dtype=torch.bool), kl)]


class _Ordinal(Head):
    """One binary problem per threshold k: is the grade above k?"""

    @abstractmethod
    def _outputs(self, logits: Tensor) -> Tensor:
        """The outputs [N, K] that gave the logits [N, C]."""

    @abstractmethod
    def _takes_part(self, kl: Tensor) -> Tensor:
        """Which knees take part in which problem, bool [N, K]."""

    def _above(self, kl: Tensor) -> Tensor:
        return kl[:, None] > torch.arange(self.n_grades - 1, device=kl.device)

    def loss(self, logits: Tensor, kl: Tensor, weights: Tensor | None = None) -> Tensor:
        """Binary cross-entropy, the sum over the problems that a knee takes part in and the mean over the knees."""
        above = self._above(kl)
        losses = F.binary_cross_entropy_with_logits(self._outputs(logits), above.to(logits.dtype), reduction="none")
        if weights is not None:
            losses = losses * torch.where(above, weights[:, 1], weights[:, 0])
        return (losses * self._takes_part(kl)).sum(dim=1).mean()

    def problems(self, kl: Tensor) -> list[tuple[Tensor, Tensor]]:
        """One problem of 2 classes per output."""
        return list(zip(self._takes_part(kl).unbind(dim=1), self._above(kl).long().unbind(dim=1), strict=True))


class Cumulative(_Ordinal):
    r"""K outputs, each the log-odds of y > k, trained on all knees and independent of each other.

    Nothing orders independent outputs: on the knees of the public OAI set with 50 to 500 labels, 40 to 75 % of
    predictions say P(y > k) < P(y > k + 1) for some k. So a grade is read off as the code word (1, ..., 1, 0, ..., 0)
    that it stands for among the C words that exist:

    .. math:: p(y = k) \propto \prod_{j < k} \sigma(z_j) \prod_{j \ge k} (1 - \sigma(z_j)) \propto \exp \sum_{j < k} z_j

    P(y > k) then falls with k whatever the outputs are. Where they are in order, the most probable grade is the number
    of outputs above 0, and differences of outputs that contradict each other never give a negative probability.
    """

    def logits(self, z: Tensor) -> Tensor:
        """Sums of the first 0, ..., K outputs."""
        return F.pad(z.float().cumsum(dim=-1), (1, 0))

    def _outputs(self, logits: Tensor) -> Tensor:
        return logits.diff(dim=-1)

    def _takes_part(self, kl: Tensor) -> Tensor:
        return torch.ones(len(kl), self.n_grades - 1, dtype=torch.bool, device=kl.device)

    def balance(self, counts: Sequence[int]) -> Tensor:
        """[K, 2]: n / (C' n_c) for the class c, 0 or 1, of each problem with C' classes that occur."""
        knees = torch.tensor(counts)
        up_to = knees.cumsum(dim=0)[:-1]
        return _inverse_frequency(torch.stack([up_to, knees.sum() - up_to], dim=1))


class Corn(_Ordinal):
    r"""K outputs, each the log-odds of y > k among the knees with y >= k: conditional ordinal regression.

    .. math:: p(y > k) = \prod_{j \le k} \sigma(z_j)

    Outputs of 0 would say that half of the knees of grade k or more have grade k, so that grade 0 is the most probable
    one by far. The outputs start, and a prior pulls them, where all grades are equally probable.
    """

    def __init__(self, n_grades: int) -> None:
        super().__init__(n_grades)
        self.origin = torch.arange(n_grades - 1, 0, -1).log()

    def logits(self, z: Tensor) -> Tensor:
        """Log-probabilities of the grades."""
        z = z.float()
        reached = F.pad(F.logsigmoid(z).cumsum(dim=-1), (1, 0))  # log P(y >= k), k = 0 ... K
        return reached + F.pad(F.logsigmoid(-z), (0, 1))

    def _outputs(self, logits: Tensor) -> Tensor:
        # log P(y > k) - log P(y = k)
        above = logits.flip(-1).logcumsumexp(dim=-1).flip(-1)[..., 1:]
        return above - logits[..., :-1]

    def _takes_part(self, kl: Tensor) -> Tensor:
        return kl[:, None] >= torch.arange(self.n_grades - 1, device=kl.device)

    def balance(self, counts: Sequence[int]) -> Tensor:
        """[K, 2]: n g_c / (C' n_c) for the class c of each problem, which has g_c of the C' grades that occur."""
        knees = torch.tensor(counts)
        occur = (knees > 0).long()
        of_knees, of_grades = (torch.stack([n[:-1], n.sum() - n.cumsum(dim=0)[:-1]], dim=1) for n in (knees, occur))
        return knees.sum() / occur.sum() * of_grades / of_knees.clamp(min=1)


HEADS: dict[str, type[Head]] = {"softmax": Softmax, "corn": Corn, "cumulative": Cumulative}


def _inverse_frequency(counts: Tensor) -> Tensor:
    """Weights n / (C' n_c) of classes with counts [..., C], of which C' occur; 0 for the others."""
    occur = counts > 0
    n = counts.sum(dim=-1, keepdim=True)
    return torch.where(occur, n / (occur.sum(dim=-1, keepdim=True) * counts.clamp(min=1)), 0.0)
