"""From `active.*` to strategies, their schedule, constraints on queries, and the first query."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kneeal import acquisition
from kneeal.acquisition import Posterior, Predictions, Strategy
from kneeal.acquisition.constraints import CONSTRAINTS, Constrained, Constraint
from kneeal.acquisition.wrappers import Checked, Mixed, rehearse
from kneeal.build.dataset import Cohort
from kneeal.config import RunConfig
from kneeal.data.grades import N_GRADES
from kneeal.data.manifest import Manifest
from kneeal.data.patches import resize
from kneeal.data.prepared import PreparedDataset
from kneeal.errors import UserError, unknown_name
from kneeal.loop.query import FirstQuery, Schedule, random_first_query
from kneeal.nn.knee_encoder import KNEE_ENCODER

#: Side in px to which patches are reduced where they are their own features: 2 x 16 x 16 values.
PIXELS = 16


def make_strategies(config: RunConfig) -> tuple[Strategy, Strategy | None]:
    """The strategy that selects queries, and the one that chooses the pseudo pool if that is a different one."""
    active = config.active
    strategy = acquisition.get(active.strategy, **active.options)
    pseudo = None if active.pseudo_by in ("strategy", active.strategy) else acquisition.get(active.pseudo_by)
    for own in (s for s in (strategy, pseudo) if s is not None and ":" in str(s)):  # of a user's file
        rehearse(own, N_GRADES)
    return strategy, pseudo if config.loss.consistency else None


def make_schedule(config: RunConfig, n_pool: int) -> Schedule:
    """The sizes of the queries and the budget, with `all` resolved to the `n_pool` training knees."""
    n_init, budget = (n_pool if n == "all" else n for n in (config.active.n_init, config.active.budget))
    # After a first query of the whole pool there is no other, so any size of it is fine.
    return Schedule(n_init, min(config.active.n_query, n_pool) if n_init == n_pool else config.active.n_query, budget)


def constrain(
    strategy: Strategy, settings: Sequence[Mapping[str, Any]], manifest: Manifest, pool: Sequence[str], budget: int
) -> Strategy:
    """The strategy under the constraints that `active.constraints` lists.

    Each of the `settings` has a `name`; `by` names the column of the manifest that groups the knees.
    """
    limits: list[Constraint] = []
    for setting in settings:
        options = dict(setting)
        name = options.pop("name", None)
        if name == "mix":
            strategy = _mix(strategy, options)
        else:
            limits.append(_constraint(str(name), options, manifest))
    if not limits:
        return strategy
    constrained = Constrained(strategy, limits)
    constrained.check(pool, budget)
    return constrained


def _mix(strategy: Strategy, options: dict[str, Any]) -> Strategy:
    unknown = set(options) - {"strategy", "share", "options"}
    if unknown or not {"strategy", "share"} <= set(options):
        raise UserError(
            f"active.constraints: mix with {', '.join(sorted(options)) or 'nothing'}",
            "mix with strategy, share and optionally options",
            "write for example {name: mix, strategy: random, share: 0.2}",
        )
    second = acquisition.get(options["strategy"], **options.get("options", {}))
    return Mixed(strategy, second, share=options["share"])


def _constraint(name: str, options: dict[str, Any], manifest: Manifest) -> Constraint:
    if name not in CONSTRAINTS:
        known = ("mix", *CONSTRAINTS.names())
        raise unknown_name("constraint", name, known, "correct the name").within("active.constraints")
    if "by" in options:
        column = options.pop("by")
        if column not in manifest.frame.columns:
            raise UserError(
                f"active.constraints: {name} by {column!r}, which the manifest does not have",
                f"a column of it: {', '.join(map(str, manifest.frame.columns))}",
                "correct `by`, or add the column and run `kneeal prepare checksum`",
            )
        options["groups"] = manifest.column(column)
    try:
        return CONSTRAINTS[name](**options)
    except UserError as error:
        raise error.within(f"active.constraints: {name}") from error
    except TypeError as error:
        raise UserError(
            f"active.constraints: {name}: {error}", "the options of the constraint", "see docs/beyond.md"
        ) from error


def first_query(
    config: RunConfig, cohort: Cohort, features: Callable[[Sequence[str]], Tensor | None], budget: int
) -> FirstQuery:
    """The function that makes the first query: the configured strategy under the configured constraints.

    `features` computes features [N, F] with the weights that a fit starts from.
    """
    active = config.active
    strategy = acquisition.get(active.first_query)
    if strategy.needs.posterior is not Posterior.NONE:
        usable = [i.name for i in acquisition.describe_all() if i.strategy.posterior is Posterior.NONE]
        raise UserError(
            f"active.first_query = {active.first_query!r}, which needs predictions",
            f"a strategy that needs none, since nothing is trained yet: {', '.join(usable)}",
            "choose one of those",
        )
    pixels = active.first_features == "pixels"
    model, init = config.model, config.training.init
    if strategy.needs.features and not (pixels or init or model.weights or model.backbone == KNEE_ENCODER):
        raise UserError(
            f"active.first_query = {active.first_query!r} without weights to compute features with",
            "training.init (--init FILE), model.weights, or active.first_features=pixels",
            "give a file of weights, or choose pixels",
        )
    limits = [setting for setting in active.constraints if setting.get("name") != "mix"]
    if active.first_query == "random" and not limits:
        return random_first_query
    pool = cohort.splits.train
    constrained = Checked(constrain(strategy, limits, cohort.dataset.manifest, tuple(pool), budget))

    def ask(ids: Sequence[str], n: int, seed: int) -> Sequence[str]:
        found = None
        if strategy.needs.features:
            found = pixel_features(cohort.dataset, ids) if pixels else features(ids)
        return constrained.select(Predictions(tuple(ids), None, found), n, seed=seed)

    return ask


def pixel_features(dataset: PreparedDataset, ids: Sequence[str]) -> Tensor:
    """Both patches of each knee, reduced to 16 px: [N, 512], brightness and contrast of each knee removed."""
    rows = [resize(dataset.patches[dataset.row[i]], PIXELS).reshape(-1) for i in ids]
    features = torch.from_numpy(np.stack(rows)).float()
    return (features - features.mean(dim=1, keepdim=True)) / features.std(dim=1, keepdim=True).clamp(min=1e-6)
