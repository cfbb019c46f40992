"""Laplace's approximation of the last layer, by laplace-torch.

References:
    Daxberger et al., "Laplace Redux: Effortless Bayesian Deep Learning", NeurIPS 2021.
    MacKay, "The Evidence Framework Applied to Classification Networks", Neural Computation 4, 1992 (the prior).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kneeal.acquisition import Needs, Posterior
from kneeal.errors import UserError
from kneeal.files import atomic_file
from kneeal.loop.runner import Runner
from kneeal.pool import PoolState
from kneeal.seeds import derive_seed
from kneeal.training.posteriors.base import Ingredients, PosteriorRunner, features_by, log_probs_of, register

#: Draws of the last layer that are kept with a round.
DRAWS = 200
_WEIGHT = "network.classifier.weight"


class LaplaceRunner(PosteriorRunner):
    """One network, whose last layer is drawn from a Gaussian around its weights.

    The Gaussian is that of the labeled knees without views, with a Kronecker-factored Hessian; the precision of the
    prior maximizes the marginal likelihood. Draws are made once a round and kept beside the checkpoint, since the
    labels are known then alone.

    Args:
        runner: Trains and gives features.
        test: Test knees and grades.
        seed: Of the draws.

    Raises:
        UserError: laplace-torch is not installed.
    """

    def __init__(self, runner: Runner, test: Mapping[str, int], *, seed: int) -> None:
        super().__init__(test)
        try:
            import laplace  # noqa: F401
        except ImportError as error:
            raise UserError(
                "posterior.method=laplace without the package laplace-torch",
                "laplace-torch",
                "install it: pip install 'kneeal[laplace]'",
            ) from error
        self.runner = runner
        self.seed = seed

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        """Train the network, then draw last layers around its own."""
        metrics = self.runner.fit(state, checkpoint, previous)
        features = features_by(self.runner, checkpoint, state.round, tuple(state.labeled))
        kl = torch.tensor(list(state.labeled.values()))
        draws = draw_last_layers(
            last_layer(checkpoint), features, kl, DRAWS, seed=derive_seed(self.seed, "laplace", state.round)
        )
        with atomic_file(self.place(checkpoint)) as temporary:
            torch.save(draws, temporary)
        return metrics

    def samples(self, checkpoint: Path, round: int, ids: Sequence[str], n_samples: int) -> Tensor:
        """One sample a draw of the last layer, [N, K, C].

        Raises:
            UserError: More samples are asked for than draws are kept.
        """
        if n_samples > DRAWS:
            raise UserError(
                f"n_samples = {n_samples} with posterior.method=laplace", f"at most {DRAWS}", "lower n_samples"
            )
        draws: Tensor = torch.load(self.place(checkpoint), weights_only=True)[:n_samples]  # [K, C, F]
        features = features_by(self.runner, checkpoint, round, ids)
        return torch.einsum("nf,kcf->nkc", features, draws).log_softmax(dim=-1)

    def features(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """Those of the network."""
        return features_by(self.runner, checkpoint, round, ids)

    def point(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """The prediction of the network itself."""
        return log_probs_of(self.runner, checkpoint, round, ids, Needs(Posterior.POINT))[:, 0]

    @staticmethod
    def place(checkpoint: Path) -> Path:
        """Where the draws lie."""
        return checkpoint.with_name(f"{checkpoint.stem}.laplace.pt")


@register("laplace")
def laplace_posterior(given: Ingredients) -> LaplaceRunner:
    """A Gaussian over the last layer."""
    return LaplaceRunner(given.make(), given.test, seed=given.seed)


def last_layer(checkpoint: Path) -> Tensor:
    """The weights [C, F] of the classifier in a checkpoint."""
    weight: Tensor = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"][_WEIGHT]
    return weight


def draw_last_layers(weight: Tensor, features: Tensor, kl: Tensor, n: int, *, seed: int) -> Tensor:
    """Draws of the last layer from its Laplace approximation.

    Args:
        weight: [C, F], where it is at its best for the data.
        features: [M, F] of the labeled knees.
        kl: int64 [M], their grades.
        n: Draws.
        seed: Of the draws.

    Returns:
        [n, C, F].
    """
    from laplace import Laplace

    # It draws by torch's global generator, and takes no other.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight = nn.Parameter(weight.detach().clone().float())
        approximation = Laplace(layer, "classification", subset_of_weights="all", hessian_structure="kron")
        approximation.fit(DataLoader(TensorDataset(features.float(), kl), batch_size=256))
        approximation.optimize_prior_precision(pred_type="glm", method="marglik")
        draws: Tensor = approximation.sample(n)
    return draws.detach().reshape(n, *weight.shape)
