"""Laplace's approximation of the last layer, by laplace-torch.

References:
    Daxberger et al., "Laplace Redux: Effortless Bayesian Deep Learning", NeurIPS 2021.
    MacKay, "The Evidence Framework Applied to Classification Networks", Neural Computation 4, 1992 (the prior).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from kneeal.errors import UserError, extra
from kneeal.files import atomic_file
from kneeal.nn.heads import Head
from kneeal.nn.network import read_torch
from kneeal.pool import PoolState
from kneeal.seeds import derive_seed
from kneeal.training.posteriors.base import Ingredients, PosteriorRunner, register

#: Draws of the last layer that are kept with a round.
DRAWS = 200


@dataclass(eq=False)
class LaplaceRunner(PosteriorRunner):
    """One network, whose last layer is drawn from a Gaussian around its weights.

    The Gaussian is fitted to the labeled knees, unaugmented and unweighted, with a Kronecker-factored Hessian; the
    precision of the prior maximizes the marginal likelihood. An ordered head has one Gaussian per output, since each
    output solves its own problem. Draws are made once per round, while the labels are available, and kept beside the
    checkpoint.
    """

    head: Head  #: The head of the network.
    seed: int  #: Seed of the draws.

    def __post_init__(self) -> None:
        with extra("laplace", "posterior.method=laplace"):
            import laplace  # noqa: F401

    def check_samples(self, n_samples: int, network: nn.Module) -> None:
        """Refuse more samples than draws are kept."""
        if n_samples > DRAWS:
            raise UserError(
                f"n_samples = {n_samples} with posterior.method=laplace",
                f"at most {DRAWS}",
                f"set active.options={{n_samples: {DRAWS}}}",
            )

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        """Train the network, then draw last layers around its own."""
        metrics = self.plain.fit(state, checkpoint, previous)
        trained = read_torch(checkpoint)["state_dict"]
        names = [f"network.classifier.{name}" for name in ("weight", "bias")]
        layer = torch.cat([trained[name].reshape(self.head.n_outputs, -1) for name in names if name in trained], dim=1)
        features = self._inputs(checkpoint, state.round, tuple(state.labeled))
        kl = torch.tensor(list(state.labeled.values()))
        seed = derive_seed(self.seed, "laplace", state.round)
        draws = draw_outputs(self.head, layer, features, kl, DRAWS, seed=seed)
        with atomic_file(self.draws_path(checkpoint)) as temporary:
            torch.save(draws, temporary)
        return metrics

    def samples(self, checkpoint: Path, round: int, ids: Sequence[str], n_samples: int) -> Tensor:
        """One sample per draw of the last layer, [N, K, C]."""
        draws: Tensor = torch.load(self.draws_path(checkpoint), weights_only=True)[:n_samples]  # [K, H, F]
        outputs = torch.einsum("nf,khf->nkh", self._inputs(checkpoint, round, ids), draws)
        return self.head.logits(outputs).log_softmax(dim=-1)

    def _inputs(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """Features, with a 1 for the bias where the head has one."""
        features = self.features(checkpoint, round, ids)
        return F.pad(features, (0, 1), value=1.0) if self.head.bias else features

    @staticmethod
    def draws_path(checkpoint: Path) -> Path:
        """The file of the draws."""
        return checkpoint.with_name(f"{checkpoint.stem}.laplace.pt")


@register("laplace")
def laplace_posterior(given: Ingredients) -> LaplaceRunner:
    """A Gaussian over the last layer."""
    return LaplaceRunner(given.make(), given.test, given.head, given.seed)


def draw_outputs(head: Head, weight: Tensor, features: Tensor, kl: Tensor, n: int, *, seed: int) -> Tensor:
    """Draws of the last layer of a head.

    Args:
        head: The head.
        weight: [H, F], the trained weights.
        features: [M, F] of the labeled knees.
        kl: int64 [M], their grades.
        n: Draws.
        seed: Of the draws.

    Returns:
        [n, H, F].
    """
    problems = head.problems(kl)
    if len(problems) == 1:
        (part, label), *_ = problems
        return draw_last_layers(weight, features[part], label[part], n, seed=seed)
    draws = []
    for k, (part, label) in enumerate(problems):
        # Log-odds w f are a softmax of two classes with the weights -w/2 and w/2. Without a knee there is no Gaussian.
        both = torch.stack([-weight[k] / 2, weight[k] / 2])
        drawn = both.expand(n, -1, -1)
        if part.any():
            drawn = draw_last_layers(both, features[part], label[part], n, seed=derive_seed(seed, "output", k))
        draws.append(drawn[:, 1] - drawn[:, 0])
    return torch.stack(draws, dim=1)


def draw_last_layers(weight: Tensor, features: Tensor, kl: Tensor, n: int, *, seed: int) -> Tensor:
    """Draws [n, C, F] from the Laplace approximation around weights [C, F] of a softmax, for M labeled knees."""
    from laplace import Laplace

    # laplace-torch draws from torch's global generator only.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight = nn.Parameter(weight.detach().clone().float())
        approximation = Laplace(layer, "classification", subset_of_weights="all", hessian_structure="kron")
        approximation.fit(DataLoader(TensorDataset(features.float(), kl), batch_size=256))
        approximation.optimize_prior_precision(pred_type="glm", method="marglik")
        draws: Tensor = approximation.sample(n)
    return draws.detach().reshape(n, *weight.shape)
