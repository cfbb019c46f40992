"""What a run says of itself before it begins."""

import textwrap
from collections.abc import Mapping

from torch import nn

from kneeal.build.devices import find_device
from kneeal.build.loop import Plan
from kneeal.data.grades import N_GRADES
from kneeal.loop.folder import RunFolder
from kneeal.nn.network import SiameseKneeNet
from kneeal.stats.metrics import warn_of_few_knees
from kneeal.tables import count

_WIDTH = 88


def run_header(plan: Plan, folder: RunFolder, labeled: Mapping[str, int]) -> str:
    """Strategy, network, device, knees by grade, and what is logged where, in a block of lines."""
    config, splits = plan.config, plan.cohort.splits
    schedule = plan.schedule
    compute, first = config.compute, config.active.first_query
    facts = {
        "run folder": str(folder.path),
        "strategy": f"{plan.strategy}{'' if first == 'random' else f', first query by {first}'}; "
        f"{schedule.n_init} to {schedule.budget} labels in {count(schedule.n_rounds, 'round')}; seed {config.seed}",
        "consistency": _consistency(plan),
        "network": _network(config.model.backbone, plan.network),
        "device": f"{find_device(compute)}{f' x {n}' if (n := compute.devices) > 1 else ''}, {compute.precision}",
        "epoch kept": _validation(plan),
    }
    if config.tracking.mode == "none":  # any other is said once it is known where W&B logs
        facts["W&B"] = "off (tracking.mode = none)"
    lines = [
        textwrap.fill(text, _WIDTH, initial_indent=f"{name:<13}", subsequent_indent=" " * 13, break_long_words=False)
        for name, text in facts.items()
    ]
    grades = plan.cohort.grades
    pool = [grades[i] for i in splits.train if i not in labeled]
    parts = {"labeled": list(labeled.values()), "pool": pool, "validation": list(splits.val.values())}
    parts = {name: knees for name, knees in parts.items() if knees} | {"test": list(splits.test.values())}
    rows = [[*(knees.count(kl) for kl in range(N_GRADES)), len(knees)] for knees in parts.values()]
    lines.append(f"{'knees':<13}" + "".join(f"{f'KL {kl}':>7}" for kl in range(N_GRADES)) + f"{'all':>7}")
    lines += [f"  {name:<11}" + "".join(f"{n:>7}" for n in row) for name, row in zip(parts, rows, strict=True)]
    if warning := warn_of_few_knees(rows[-1][:-1]):
        lines.append(textwrap.fill(warning, _WIDTH))
    return "\n".join(lines)


def _consistency(plan: Plan) -> str:
    loss = plan.config.loss
    if loss.consistency:
        return f"{loss.method}, pseudo pool by {plan.pseudo or plan.strategy}"
    reason = "" if plan.strategy.scores_uncertainty else f": {plan.strategy} has no score to choose a pseudo pool by"
    return f"off{reason}"


def _network(backbone: str, network: SiameseKneeNet) -> str:
    def size(*modules: nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    trained = size(network)
    frozen = 0 if network.encoder is None else size(network.encoder.branch) - size(network.branch)
    return f"{backbone}, {trained + frozen:,} parameters" + (f", {trained:,} of them trained" if frozen else "")


def _validation(plan: Plan) -> str:
    data = plan.config.data
    return {
        "free": f"the best on {len(plan.cohort.splits.val)} validation knees, whose grades do not count as labels",
        "budget": f"the best on a share of {data.val_fraction:g} of the labels",
        "none": "the last; no grades are spent on choosing one",
    }[data.validation]
