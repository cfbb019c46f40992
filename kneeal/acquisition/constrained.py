"""Wraps any strategy to apply constraints."""

from collections.abc import Sequence

from kneeal.acquisition.constraints import Constraint
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.strategy import Strategy, Wrapper, check_query_size
from kneeal.errors import UserError
from kneeal.seeds import derive_seed


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
