"""Constraints on a query, and the wrapper that applies them to any strategy.

A group is defined by a mapping from knee id to a name: of a patient, a site or a scanner. Ids are never parsed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.strategy import Strategy, check_float, check_int, check_query_size, seeded_order
from kneeal.acquisition.wrappers import Wrapper
from kneeal.errors import UserError
from kneeal.registry import Registry
from kneeal.seeds import derive_seed

#: Whether a knee may join those chosen so far.
Gate = Callable[[str, Sequence[str]], bool]


class Constraint:
    """Limits a query: which knees may be queried at all, and which may join those chosen so far."""

    def restrict(self, ids: Sequence[str], n: int, *, seed: int) -> Sequence[str]:
        """The knees that may be queried; all of them by default.

        Args:
            ids: The pool, or what earlier constraints left of it.
            n: Size of the query.
            seed: Source of all randomness.
        """
        return ids

    def gate(self, ids: Sequence[str], n: int) -> Gate:
        """A function that says whether a knee may join those chosen so far; always by default.

        Args:
            ids: The knees that may be queried.
            n: Size of the query.
        """
        return lambda knee, chosen: True

    def limit(self, ids: Sequence[str]) -> int:
        """Number of knees of the pool that can ever be queried; by default those that `restrict` leaves of them."""
        return len(self.restrict(ids, len(ids), seed=0))


#: Constraints by their name in configuration files.
CONSTRAINTS: Registry[type[Constraint]] = Registry("constraint", "active.constraints")


@CONSTRAINTS.register("max_per_group")
class MaxPerGroup(Constraint):
    """Limits the knees of a group, for example of a patient, in one query.

    Args:
        groups: Knee id to group; a knee without one is not limited.
        max_knees: Knees per group, at least 1.
    """

    def __init__(self, groups: Mapping[str, str], *, max_knees: int = 1) -> None:
        self.groups = groups
        self.max_knees = check_int("max_knees", max_knees)

    def gate(self, ids: Sequence[str], n: int) -> Gate:
        """Whether the group of the knee has room."""

        def admits(knee: str, chosen: Sequence[str]) -> bool:
            group = self.groups.get(knee)
            return group is None or sum(self.groups.get(other) == group for other in chosen) < self.max_knees

        return admits


@CONSTRAINTS.register("share_per_group")
class SharePerGroup(Constraint):
    """Gives each group, for example each site, its share of every query.

    Shares are rounded by the largest remainder. A group with fewer knees left than its share gives all of them, and
    the other groups divide the rest in proportion.

    Args:
        groups: Knee id to group.
        shares: Group to share of the query, above 0 and summing to 1; None uses the shares of the pool.

    Raises:
        UserError: A share is invalid, or they do not sum to 1.
    """

    def __init__(self, groups: Mapping[str, str], *, shares: Mapping[str, float] | None = None) -> None:
        self.groups = groups
        self.shares = None
        if shares is not None:
            self.shares = {str(g): check_float(f"the share of {g}", share, 0.0, 1.0) for g, share in shares.items()}
            if abs(sum(self.shares.values()) - 1.0) > 1e-6:
                raise UserError(
                    f"shares that sum to {sum(self.shares.values()):g}", "shares that sum to 1", "correct the shares"
                )
            unknown = sorted(set(self.shares) - set(groups.values()))
            if unknown:
                raise UserError(
                    f"a share for {', '.join(map(repr, unknown))}, which no knee has",
                    f"groups of the data set: {', '.join(map(repr, sorted(set(groups.values()))))}",
                    "correct the names (quote those that YAML does not read as text, such as no or 1)",
                )

    def quotas(self, ids: Sequence[str], n: int) -> dict[str, int]:
        """Number of knees of each group in a query of n."""
        available = Counter(self.groups[i] for i in ids if i in self.groups)
        weights: dict[str, float] = dict(available) if self.shares is None else dict(self.shares)
        quotas = dict.fromkeys(sorted(weights), 0)
        remaining, open_groups = n, [g for g in quotas if available[g]]
        while remaining and open_groups:
            total = sum(weights[g] for g in open_groups)
            shares = {g: remaining * weights[g] / total for g in open_groups}
            exhausted = [g for g in open_groups if shares[g] >= available[g]]
            if not exhausted:
                quotas.update({g: int(share) for g, share in shares.items()})
                by_remainder = sorted(open_groups, key=lambda g: (int(shares[g]) - shares[g], g))
                for g in by_remainder[: remaining - sum(quotas[g] for g in open_groups)]:
                    quotas[g] += 1
                break
            for g in exhausted:
                quotas[g] = available[g]
                remaining -= available[g]
            open_groups = [g for g in open_groups if g not in exhausted]
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


@CONSTRAINTS.register("exclude")
class Exclude(Constraint):
    """Never queries knees of certain groups, for example those flagged as unreadable.

    Args:
        groups: Knee id to group.
        values: The groups to exclude.
    """

    def __init__(self, groups: Mapping[str, str], *, values: Iterable[str]) -> None:
        self.groups = groups
        if isinstance(values, str | int | float | bool):
            values = [str(values)]
        self.values = frozenset(map(str, values))

    def restrict(self, ids: Sequence[str], n: int, *, seed: int) -> Sequence[str]:
        """The knees of other groups."""
        return [i for i in ids if self.groups.get(i) not in self.values]


@CONSTRAINTS.register("subsample")
class Subsample(Constraint):
    """Queries from a random part of the pool: cheaper, and more varied than its very top.

    Args:
        max_knees: Knees in that part, at least 1; never fewer than the query needs.
    """

    def __init__(self, *, max_knees: int) -> None:
        self.max_knees = check_int("max_knees", max_knees)

    def restrict(self, ids: Sequence[str], n: int, *, seed: int) -> Sequence[str]:
        """The random part."""
        kept = set(seeded_order(ids, derive_seed(seed, "subsample"))[: max(n, self.max_knees)])
        return [knee for position, knee in enumerate(ids) if position in kept]


class Constrained(Wrapper):
    """A strategy whose queries satisfy constraints.

    Knees are taken in the order of the strategy as long as every constraint admits them; for the rest of the query, the
    strategy selects again among the knees that are still admitted. Knees taken so far count as labeled, so a strategy
    that spreads its query over the features does not repeat itself. If no constraint binds, the query is its own.
    """

    def __init__(self, strategy: Strategy, constraints: Sequence[Constraint]) -> None:
        super().__init__(strategy)
        self.constraints = tuple(constraints)

    def check(self, ids: Sequence[str], budget: int) -> None:
        """Refuse a budget that the constraints can never spend.

        Raises:
            UserError: Fewer knees can ever be queried.
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
        """The query under the constraints.

        Raises:
            ValueError: n is not in [0, N].
            UserError: Fewer than n knees can be queried.
        """
        check_query_size(n, len(predictions))
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
            admitted = [i for i in ids if i not in taken and all(admits(i, chosen) for admits in gates)]
            if not admitted:
                raise UserError(
                    f"only {len(chosen)} of {n} knees can be queried under the constraints",
                    "constraints that leave as many knees as the query needs",
                    "lower active.n_query or active.budget, or relax active.constraints",
                )
            known = labeled
            if chosen and self.needs.features:
                new = predictions.take([row[i] for i in chosen])
                known = new if labeled is None else labeled.joined(new)
            selected = self.strategy.select(
                predictions.take([row[i] for i in admitted]),
                min(n - len(chosen), len(admitted)),
                labeled=known,
                seed=seed if attempt == 0 else derive_seed(seed, "again", attempt),
            )
            for knee in selected:
                if all(admits(knee, chosen) for admits in gates):
                    chosen.append(knee)
        return tuple(chosen)
