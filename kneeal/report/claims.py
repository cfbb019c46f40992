"""The paper's four claims, each with the evidence that the runs give for or against it.

Every verdict follows a stated rule, so that a reader can disagree with the rule rather than with us. A
claim whose settings are not among the runs, or have a single seed, is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kneeal.data.grades import N_GRADES
from kneeal.report.comparisons import (
    HEADER,
    LEVEL,
    WIN_RULE,
    accuracies,
    cannot_tell,
    cells,
    compare_settings,
    count_losses,
    decide,
    difference,
)
from kneeal.report.runs import Runs, Setting
from kneeal.report.tables import area_summary, common_counts, common_range, find_random
from kneeal.report.text import TextTable, show
from kneeal.stats.crossed import Accuracies, SpreadRatio, TestSet, holm, spread_ratio
from kneeal.stats.summary import Summary, summarize_at

METRIC = "test_balanced_accuracy"
#: Whether a setting may differ between a run with consistency and the one without it that it is compared with.
_OF_CONSISTENCY = re.compile(r"seed|data\.split_seed|active\.pseudo_by|views\.kept|loss\.(?!balance).*").fullmatch
#: A test knee counts as certain below this share of the largest entropy.
CERTAIN = 0.1 * float(np.log(N_GRADES))
#: Labels after which the paper claims that uncertainty beats random querying.
_AFTER = 300


@dataclass(frozen=True)
class Claim:
    """A claim with its evidence."""

    claim: str  #: In words.
    rule: str  #: How the verdict follows from the evidence.
    verdict: str  #: "yes", "in part", "no" or "cannot tell", with counts.
    evidence: TextTable  #: The numbers.


def check_claims(runs: Runs, test_set: TestSet) -> list[Claim]:
    """Those of the four on which the runs allow a verdict."""
    if METRIC not in runs.metrics or len(runs.seeds) < 2:
        return []
    found = (_beats_random(runs, test_set), _stabilizes(runs), _leads(runs, test_set), _to_zero(runs, test_set))
    return [claim for claim in found if claim is not None]


def _beats_random(runs: Runs, test_set: TestSet) -> Claim | None:
    differences: dict[tuple[str, str], Accuracies] = {}
    for setting in runs.curves:
        random = find_random(runs, consistency=setting.first.consistency)
        if random is None or setting.first.strategy == "random":
            continue
        counts = [n for n in common_counts(METRIC, setting, random) if n > _AFTER]
        found = [accuracies(s, counts, test_set) for s in (setting, random)] if counts else [{}, {}]
        if (d := difference(found[0], found[1])) is not None:
            differences[setting.label, random.label] = d
    compared = decide(differences)
    return _claim(
        f"uncertainty beats random after {_AFTER} labels",
        f"balanced accuracy minus that of random (which has consistency too, where there are such runs), mean over the "
        f"label counts above {_AFTER}: {WIN_RULE}",
        {c.a: c.verdict for c in compared},
        TextTable("", ["setting vs random", *HEADER], [[f"{c.a} vs {c.b}", *cells(c)] for c in compared]),
    )


def _stabilizes(runs: Runs) -> Claim | None:
    ratios: dict[str, tuple[SpreadRatio, int, list[list[float]]]] = {}
    for naive, consistent in _pairs(runs):
        seeds = [s for s in consistent.runs if s in naive.runs]
        for n in reversed(common_counts(METRIC, consistent, naive)):
            values = [[s.curves(METRIC)[seed].at(n) for seed in seeds] for s in (consistent, naive)]
            known = [[float(v) for v in row if v is not None] for row in values]
            if len(known[0]) == len(known[1]) == len(seeds) and (found := spread_ratio(known[0], known[1])):
                ratios[consistent.label] = (found, n, known)
                break
    verdicts = decide_spread({label: found for label, (found, _, _) in ratios.items()})
    rows = [
        [
            label, str(n), *(f"{100 * np.std(row, ddof=1):.2f}" for row in reversed(values)), f"{found.ratio:.2f}",
            f"[{found.low:.2f}, {found.high:.2f}]", verdicts[label],
        ]
        for label, (found, n, values) in ratios.items()
    ]  # fmt: skip
    header = ["setting", "labels", "SD, naive", "SD, consistency", "ratio", "95 % interval", "verdict"]
    return _claim(
        "consistency stabilizes",
        "standard deviation of balanced accuracy over the seeds (points) at the last label count, with consistency "
        f"over without; a win takes p < {LEVEL:.2f} after Holm's correction for all rows, by exchanging distances of "
        "paired seeds from the medians; an interval is of its row alone, for seeds that are normally distributed",
        verdicts,
        TextTable("", header, rows),
    )


def decide_spread(ratios: Mapping[str, SpreadRatio]) -> dict[str, str]:
    """For each ratio "win" where the first varies less, "loss" where it varies more, or why it is undecided."""
    corrected = holm([r.p_value for r in ratios.values()])
    return {
        name: ("win" if r.ratio < 1 else "loss")
        if p < LEVEL
        else cannot_tell(r.n_seeds, r.seeds_needed(LEVEL / len(ratios)))
        for (name, r), p in zip(ratios.items(), corrected, strict=True)
    }


def _leads(runs: Runs, test_set: TestSet) -> Claim | None:
    own = {s.label for s in runs.curves if s.first.strategy == "entropy_mcd"}
    last = max(runs.label_counts, default=0)
    compared = compare_settings(runs, last, test_set)
    if not own or len(own) == len(runs.curves) or not compared:
        return None
    span = common_range(runs, METRIC)
    ranked: list[tuple[Setting, Summary, Summary | None]] = []
    for setting in runs.curves:
        final = summarize_at(setting.curves(METRIC), last)
        if final is not None:
            ranked.append((setting, final, area_summary(setting, METRIC, *span) if span else None))
    ranked.sort(key=lambda r: -r[1].mean)
    beaten = {s.label: {c.a if c.winner == c.b else c.b for c in compared if c.winner == s.label} for s in runs.curves}
    rows = [
        [
            s.label,
            show(final, METRIC),
            show(whole, METRIC),
            str(len(beaten[s.label])),
            str(count_losses(compared, s.label)),
        ]
        for s, final, whole in ranked
    ]
    others = {s.label for s in runs.curves} - own
    labels = [s.label for s, *_ in ranked]
    leader = next((label for label in labels if label in own and others <= beaten[label]), None)
    better = next((label for label in labels if label in others and own <= beaten[label]), None)
    if leader:
        verdict = f"yes: {leader} wins against every setting of another strategy"
    elif better:
        verdict = f"no: {better} wins against every ENT-MCD setting"
    else:
        most = max(len(others & beaten[label]) for label in own)
        verdict = f"cannot tell: the best ENT-MCD setting wins against {most} of {len(others)} others"
    return Claim(
        "ENT-MCD leads",
        f"at {last} labels one ENT-MCD setting wins against every setting of another strategy (yes), or another wins "
        f"against every ENT-MCD setting (no), by the paired comparisons: {WIN_RULE}",
        verdict,
        TextTable("", ["setting", f"at {last} labels", "area", "wins", "losses"], rows),
    )


def _to_zero(runs: Runs, test_set: TestSet) -> Claim | None:
    differences: dict[tuple[str, str], Accuracies] = {}
    shares: dict[str, list[str]] = {}
    for naive, consistent in _pairs(runs):
        seeds = [s for s in consistent.runs if s in naive.runs]
        unsure = [np.stack([s.runs[seed].predictions(-1).uncertainty for seed in seeds]) for s in (naive, consistent)]
        certain = [u < CERTAIN for u in unsure]
        differences[consistent.label, naive.label] = test_set.share(certain[1]) - test_set.share(certain[0])
        shares[consistent.label] = [*(f"{100 * c.mean():.1f}" for c in certain), *(f"{u.mean():.3f}" for u in unsure)]
    compared = decide(differences)
    header = ["setting", "certain %, naive", "consistency", "mean nats, naive", "consistency", *HEADER]
    return _claim(
        "uncertainty mass moves to zero with consistency",
        f"share of test knees with a predictive entropy below {CERTAIN:.2f} nats (10 % of the largest) after the last "
        f"round, with consistency minus without, in points: {WIN_RULE}",
        {c.a: c.verdict for c in compared},
        TextTable("", header, [[c.a, *shares[c.a], *cells(c)] for c in compared]),
    )


def _claim(claim: str, rule: str, verdicts: Mapping[str, str], evidence: TextTable) -> Claim | None:
    """A claim that holds as far as its rows do; None without any row."""
    if not verdicts:
        return None
    n, wins, losses = len(verdicts), *(sum(v == word for v in verdicts.values()) for word in ("win", "loss"))
    head = "yes" if wins == n else "in part" if wins else "no" if losses else "cannot tell"
    return Claim(claim, rule, f"{head}: {wins} of {n} win, {losses} lose", evidence)


def _pairs(runs: Runs) -> list[tuple[Setting, Setting]]:
    """Each setting with consistency after the nearest one without: only the second term and its views differ."""

    def key(setting: Setting) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((k, repr(v)) for k, v in setting.first.config.items() if not _OF_CONSISTENCY(k)))

    pairs = []
    for consistent in (s for s in runs.curves if s.first.consistency):
        config = consistent.first.config
        naive = [
            s
            for s in runs.curves
            if not s.first.consistency and key(s) == key(consistent) and s.runs.keys() & consistent.runs.keys()
        ]
        if naive:
            nearest = min(naive, key=lambda s: sum(s.first.config.get(k) != v for k, v in config.items()))
            pairs.append((nearest, consistent))
    return pairs
