"""Deep ensembles, ensembles of Monte-Carlo dropout, and snapshot ensembles.

References:
    Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles", NeurIPS 2017.
    Beluch et al., "The Power of Ensembles for Active Learning in Image Classification", CVPR 2018.
    Huang et al., "Snapshot Ensembles: Train 1, Get M for Free", ICLR 2017.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kneeal.acquisition import Needs, Posterior, measures
from kneeal.pool import PoolState
from kneeal.seeds import derive_seed
from kneeal.training.posteriors.base import Ingredients, PosteriorRunner, Sampler, register


@dataclass(eq=False)
class EnsembleRunner(PosteriorRunner):
    """Several networks, which differ in first weights, order and views, are a sample of the posterior.

    The checkpoint of the first member is the round's; the others are stored beside it. Features are the first member's.
    """

    members: Sequence[Sampler]  #: Runners that differ in their seed, at least 2.
    dropout: bool = False  #: Whether each member draws Monte-Carlo dropout samples rather than one prediction.
    chain: bool = False  #: Whether each member continues from the weights of the previous one: a snapshot ensemble.

    def check_samples(self, n_samples: int, network: nn.Module) -> None:
        """Refuse a network without dropout where the members draw dropout samples."""
        if self.dropout:
            self.members[0].check_samples(n_samples, network)

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        """Train one member after the other.

        Returns:
            The mean of the members' validation metrics.
        """
        found: list[Mapping[str, float]] = []
        # From the last to the first, so that the round's checkpoint exists only once all others do.
        for number in reversed(range(len(self.members))):
            start = None if previous is None else self.weights_path(previous, 0 if self.chain else number)
            if self.chain and number < len(self.members) - 1:
                start = self.weights_path(checkpoint, number + 1)
            found.append(self.members[number].fit(state, self.weights_path(checkpoint, number), start))
        return {name: sum(metrics[name] for metrics in found) / len(found) for name in found[0]}

    def samples(self, checkpoint: Path, round: int, ids: Sequence[str], n_samples: int) -> Tensor:
        """One sample per member, or its dropout samples: [N, K, C], one member after the other."""
        # Every member draws equally many, together at least `n_samples`.
        n_each = -(-n_samples // len(self.members))
        needs = Needs(Posterior.SAMPLES, n_each) if self.dropout else Needs(Posterior.POINT)
        return self._of_all(checkpoint, round, ids, needs)

    def point(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """The mean of the members' deterministic predictions."""
        parts = self._of_all(checkpoint, round, ids, Needs(Posterior.POINT))
        return measures.mean_log_probs(parts).unsqueeze(1)

    def _of_all(self, checkpoint: Path, round: int, ids: Sequence[str], needs: Needs) -> Tensor:
        parts = [
            member.predict(self.weights_path(checkpoint, number), round, ids, needs).require_log_probs()
            for number, member in enumerate(self.members)
        ]
        return torch.cat(parts, dim=1)

    @staticmethod
    def weights_path(checkpoint: Path, member: int) -> Path:
        """The file of a member's weights: best.ckpt, best.1.ckpt, ..."""
        return checkpoint if member == 0 else checkpoint.with_name(f"{checkpoint.stem}.{member}{checkpoint.suffix}")


def _ensemble(given: Ingredients, *, dropout: bool) -> EnsembleRunner:
    # The first member is the network that a run without an ensemble trains.
    seeds = [given.seed, *(derive_seed(given.seed, "member", k) for k in range(1, given.members))]
    members = [given.make(seed=seed) for seed in seeds]
    return EnsembleRunner(members[0], given.test, members, dropout=dropout)


@register("ensemble")
def ensemble(given: Ingredients) -> EnsembleRunner:
    """Networks that differ in their seed."""
    return _ensemble(given, dropout=False)


@register("mcd_ensemble")
def dropout_ensemble(given: Ingredients) -> EnsembleRunner:
    """The same, each with Monte-Carlo dropout."""
    return _ensemble(given, dropout=True)


@register("snapshot")
def snapshot_ensemble(given: Ingredients) -> EnsembleRunner:
    """One network at the end of each cycle of the learning rate."""
    seeds = [derive_seed(given.seed, "cycle", k) for k in range(given.members)]
    members = [given.make(seed=seed, cycles=given.members) for seed in seeds]
    return EnsembleRunner(members[0], given.test, members, chain=True)
