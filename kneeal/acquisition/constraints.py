"""Constraints on a query, around any strategy and with any others.

Symbols:
    A group is whatever a mapping from knee id to a name says: a patient, a site, a scanner. Nothing is read from ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.batch import seeded_order
from kneeal.acquisition.options import number, whole
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.strategy import Strategy
from kneeal.errors import UserError
from kneeal.seeds import derive_seed

#: Says whether a knee may join those chosen so far.
Gate = Callable[[str, Sequence[str]], bool]
_registered: dict[str, type[Constraint]] = {}
_C = TypeVar("_C", bound="type[Constraint]")


class Constraint:
    """Limits a query: which knees may be asked for at all, and which may join those chosen."""

    def restrict(self, ids: Sequence[str], n: int, *, seed: int) -> Sequence[str]:
        """The knees of the pool that may be asked for; all of them by default.

        Args:
            ids: Of the pool, or of what constraints before this one left of it.
            n: Knees asked for.
            seed: Of whatever is random.
        """
        return ids

    def gate(self, ids: Sequence[str], n: int) -> Gate:
        """A function of a knee and those chosen so far: whether it may join them; always by default.

        Args:
            ids: The knees that may be asked for.
            n: Knees asked for.
        """
        return lambda knee, chosen: True

    def limit(self, ids: Sequence[str]) -> int:
        """How many knees of the pool can ever be asked for; all by default."""
        return len(ids)


def constraint(name: str) -> Callable[[_C], _C]:
    """Make a constraint known under a name, for configuration files."""

    def add(kind: _C) -> _C:
        if name in _registered:
            raise UserError(f"two constraints called {name!r}", "one constraint a name", "rename one of them")
        _registered[name] = kind
        return kind

    return add


def constraints() -> Mapping[str, type[Constraint]]:
    """Every constraint by its name."""
    return dict(sorted(_registered.items()))


@constraint("max_per_group")
class MaxPerGroup(Constraint):
    """At most so many knees of a group in one query, for example of a patient.

    Args:
        groups: Knee id to group; a knee without one is not limited.
        most: Knees of a group, at least 1.
    """

    def __init__(self, groups: Mapping[str, str], *, most: int = 1) -> None:
        self.groups = groups
        self.most = whole("most", most)

    def gate(self, ids: Sequence[str], n: int) -> Gate:
        """Whether the group of the knee has room."""

        def admits(knee: str, chosen: Sequence[str]) -> bool:
            group = self.groups.get(knee)
            return group is None or sum(self.groups.get(other) == group for other in chosen) < self.most

        return admits


@constraint("share_per_group")
class SharePerGroup(Constraint):
    """A share of every query for each group, for example for each site.

    Whole numbers of knees come from the largest remainder. A group of the pool that has fewer knees left than its
    share gives all, and the others take the rest in proportion.

    Args:
        groups: Knee id to group.
        shares: Group to share of the query, above 0, sum 1; None takes the shares that the pool has.

    Raises:
        UserError: A share is none, or they do not sum to 1.
    """

    def __init__(self, groups: Mapping[str, str], *, shares: Mapping[str, float] | None = None) -> None:
        self.groups = groups
        self.shares = None
        if shares is not None:
            self.shares = {str(g): number(f"the share of {g}", share, 0.0, 1.0) for g, share in shares.items()}
            if abs(sum(self.shares.values()) - 1.0) > 1e-6:
                raise UserError(
                    f"shares that sum to {sum(self.shares.values()):g}", "shares that sum to 1", "correct the shares"
                )
            unknown = sorted(set(self.shares) - set(groups.values()))
            if unknown:
                raise UserError(
                    f"a share for {', '.join(map(repr, unknown))}, which no knee has",
                    f"groups of the data set: {', '.join(map(repr, sorted(set(groups.values()))))}",
                    "correct the names (YAML reads some, such as no or 1, as other things: put them in quotes)",
                )

    def quotas(self, ids: Sequence[str], n: int) -> dict[str, int]:
        """Knees of each group in a query of n."""
        available = Counter(self.groups[i] for i in ids if i in self.groups)
        weights: dict[str, float] = dict(available) if self.shares is None else dict(self.shares)
        quotas = dict.fromkeys(sorted(weights), 0)
        left, open_ = n, [g for g in quotas if available[g]]
        while left and open_:
            total = sum(weights[g] for g in open_)
            wanted = {g: left * weights[g] / total for g in open_}
            full = [g for g in open_ if quotas[g] + wanted[g] >= available[g]]
            if full:  # what a group cannot give is shared out again
                for g in full:
                    left -= available[g] - quotas[g]
                    quotas[g] = available[g]
                open_ = [g for g in open_ if g not in full]
                if left < 0:  # pragma: no cover - wanted sums to left
                    raise RuntimeError("more knees than asked for")
                continue
            for g in open_:
                quotas[g] += int(wanted[g])
            rest = left - sum(int(w) for w in wanted.values())
            for g in sorted(open_, key=lambda g: (int(wanted[g]) - wanted[g], g))[:rest]:
                quotas[g] += 1
            left = 0
        return quotas

    def gate(self, ids: Sequence[str], n: int) -> Gate:
        """Whether the share of the knee's group has room."""
        quotas = self.quotas(ids, n)

        def admits(knee: str, chosen: Sequence[str]) -> bool:
            group = self.groups.get(knee, "")
            return sum(self.groups.get(other, "") == group for other in chosen) < quotas.get(group, 0)

        return admits

    def limit(self, ids: Sequence[str]) -> int:
        """The knees of groups that have a share."""
        return len(ids) if self.shares is None else sum(self.groups.get(i) in self.shares for i in ids)


@constraint("exclude")
class Exclude(Constraint):
    """Never ask for knees with some mark, for example those flagged as unreadable.

    Args:
        groups: Knee id to mark.
        values: The marks that exclude.
    """

    def __init__(self, groups: Mapping[str, str], *, values: Iterable[str]) -> None:
        self.groups = groups
        if isinstance(values, str | int | float | bool):
            values = [str(values)]
        self.values = frozenset(map(str, values))

    def restrict(self, ids: Sequence[str], n: int, *, seed: int) -> Sequence[str]:
        """The knees without such a mark."""
        return [i for i in ids if self.groups.get(i) not in self.values]

    def limit(self, ids: Sequence[str]) -> int:
        """The knees without such a mark."""
        return len(self.restrict(ids, 0, seed=0))


@constraint("subsample")
class Subsample(Constraint):
    """Choose from a random part of the pool: cheaper, and more varied than the very top of it.

    Args:
        most: Knees of the part, at least 1; never fewer than are asked for.
    """

    def __init__(self, *, most: int) -> None:
        self.most = whole("most", most)

    def restrict(self, ids: Sequence[str], n: int, *, seed: int) -> Sequence[str]:
        """The part."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "subsample"))
        kept = set(seeded_order(ids, generator)[: max(n, self.most)])
        return [knee for position, knee in enumerate(ids) if position in kept]


class Constrained(Strategy):
    """A strategy whose queries keep to constraints.

    The strategy selects; its knees are taken in its order while every constraint admits them; for what is missing it
    selects again among the knees that are still admitted. It is told the knees taken so far as labeled ones, so that
    one that spreads its query over the features does not repeat itself. Without a constraint that bites, the query is
    the strategy's own.

    Args:
        strategy: Any strategy.
        constraints: Any number of them; all have to be kept.
    """

    def __init__(self, strategy: Strategy, constraints: Sequence[Constraint]) -> None:
        self.strategy = strategy
        self.constraints = tuple(constraints)
        self.posterior = strategy.posterior
        self.needs_features = strategy.needs_features
        self.batch_aware = strategy.batch_aware
        self.pointwise = strategy.pointwise
        self.n_samples = strategy.n_samples
        self.source = strategy.source

    @property
    def scores_uncertainty(self) -> bool:
        """As the strategy says."""
        return self.strategy.scores_uncertainty

    def score(self, predictions: Predictions) -> Tensor:
        """The strategy's score, also of knees that may not be asked for."""
        return self.strategy.score(predictions)

    def check(self, ids: Sequence[str], budget: int) -> None:
        """Refuse a budget that the constraints can never spend.

        Raises:
            UserError: Fewer knees can ever be asked for.
        """
        limit = min([len(ids), *(c.limit(ids) for c in self.constraints)])
        if limit < budget:
            raise UserError(
                f"a budget of {budget} labels, but the constraints leave {limit} of {len(ids)} knees",
                "constraints that leave enough knees",
                "lower active.budget or relax active.constraints",
            )

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        """The strategy's query, as far as the constraints admit it.

        Raises:
            ValueError: n is not in [0, N].
            UserError: Fewer than n knees can be asked for.
        """
        if not 0 <= n <= len(predictions):
            raise ValueError(f"n must be between 0 and the {len(predictions)} knees of the pool, but got {n=}.")
        ids: Sequence[str] = predictions.ids
        for c in self.constraints:
            ids = c.restrict(ids, n, seed=seed)
        gates = [c.gate(ids, n) for c in self.constraints]
        row = {knee: position for position, knee in enumerate(predictions.ids)}
        chosen: list[str] = []
        for attempt in range(n):
            if len(chosen) == n:
                break
            taken = set(chosen)
            free = [i for i in ids if i not in taken and all(admits(i, chosen) for admits in gates)]
            if not free:
                raise UserError(
                    f"only {len(chosen)} of {n} knees can be asked for under the constraints",
                    "constraints that leave as many knees as are asked for",
                    "lower active.n_query or active.budget, or relax active.constraints",
                )
            known = together(labeled, predictions.take([row[i] for i in chosen])) if chosen else labeled
            wanted = self.strategy.select(
                predictions.take([row[i] for i in free]),
                min(n - len(chosen), len(free)),
                labeled=known if self.needs_features else labeled,
                seed=seed if attempt == 0 else derive_seed(seed, "again", attempt),
            )
            for knee in wanted:
                if all(admits(knee, chosen) for admits in gates):
                    chosen.append(knee)
        return tuple(chosen)


class Mixed(Strategy):
    """A part of each query by a second strategy, for example some random knees that keep the labels representative.

    Both see one prediction: where one needs posterior samples, the other sees their mean as its point estimate.

    Args:
        first: Selects first, and its score is the score.
        second: Selects among what the first leaves.
        share: Of the second in the query, above 0 and at most 1.
    """

    def __init__(self, first: Strategy, second: Strategy, *, share: float) -> None:
        order = (Posterior.NONE, Posterior.POINT, Posterior.SAMPLES)
        self.first, self.second = first, second
        self.share = number("share", share, 0.0, 1.0)
        self.posterior = max(first.posterior, second.posterior, key=order.index)
        self.needs_features = first.needs_features or second.needs_features
        self.batch_aware = first.batch_aware and second.batch_aware
        self.pointwise = first.pointwise and second.pointwise
        self.n_samples = max(first.n_samples, second.n_samples)
        self.source = f"{first.source}; {second.source}"

    @property
    def scores_uncertainty(self) -> bool:
        """As the first strategy says."""
        return self.first.scores_uncertainty

    def score(self, predictions: Predictions) -> Tensor:
        """The score of the first strategy."""
        return self.first.score(_as_needed(predictions, self.first))

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        """The knees of the first strategy, then those of the second.

        Raises:
            ValueError: n is not in [0, N].
        """
        if not 0 <= n <= len(predictions):
            raise ValueError(f"n must be between 0 and the {len(predictions)} knees of the pool, but got {n=}.")
        n_second = round(self.share * n)

        def pick(strategy: Strategy, pool: Predictions, known: Predictions | None, n: int, seed: int) -> Sequence[str]:
            seen = None if known is None or not strategy.needs_features else _as_needed(known, strategy)
            return strategy.select(_as_needed(pool, strategy), n, labeled=seen, seed=seed)

        chosen = pick(self.first, predictions, labeled, n - n_second, seed)
        if not n_second:
            return tuple(chosen)
        taken = set(chosen)
        rest = [k for k, i in enumerate(predictions.ids) if i not in taken]
        done = [k for k, i in enumerate(predictions.ids) if i in taken]
        known = together(labeled, predictions.take(done)) if done else labeled
        more = pick(self.second, predictions.take(rest), known, n_second, derive_seed(seed, "second"))
        return (*chosen, *more)


def together(first: Predictions | None, second: Predictions) -> Predictions:
    """The knees of both; what one of them lacks is left out."""
    if first is None:
        return second

    def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else torch.cat([a, b.to(a)])

    return Predictions(
        (*first.ids, *second.ids), both(first.log_probs, second.log_probs), both(first.features, second.features)
    )


def _as_needed(predictions: Predictions, strategy: Strategy) -> Predictions:
    log_probs: Any = predictions.log_probs
    if strategy.posterior is Posterior.POINT and log_probs is not None and log_probs.shape[1] > 1:
        log_probs = measures.mean_log_probs(log_probs).unsqueeze(1)
    return Predictions(predictions.ids, log_probs, predictions.features)
