"""The paper's four claims, each with the evidence that the runs give for or against it.

Every verdict follows one rule, written beside it, so that a reader can disagree with the rule rather than with us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kneeal.report.runs import Run, Runs, Setting
from kneeal.report.tables import area_summary, common_range, find_random
from kneeal.report.text import TextTable, show
from kneeal.stats.summary import Summary, summarize, summarize_at

METRIC = "test_balanced_accuracy"
#: A test knee counts as certain below this share of the largest entropy of 5 grades.
CERTAIN = 0.1 * float(np.log(5))


@dataclass(frozen=True)
class Claim:
    """A claim with its evidence.

    Attributes:
        claim: In words.
        rule: How the verdict follows from the evidence.
        verdict: "yes", "in part", "no" or "cannot be said", with counts.
        evidence: The numbers.
    """

    claim: str
    rule: str
    verdict: str
    evidence: TextTable


def check_claims(runs: Runs) -> list[Claim]:
    """All four, as far as the runs go."""
    if METRIC not in runs.metrics:
        return []
    return [_beats_random(runs), _stabilizes(runs), _leads(runs), _moves_to_zero(runs)]


def _beats_random(runs: Runs, after: int = 300) -> Claim:
    random, rows, votes = find_random(runs), [], []
    for setting in runs.curves if random else ():
        if random is None or setting.first.strategy == "random":
            continue
        differences, counts = _differences_after(setting, random, after)
        if not differences:
            continue
        found = summarize(differences)
        votes.append(_vote(found, differences))
        above = f"{sum(d > 0 for d in differences)}/{len(differences)}"
        rows.append([setting.label, str(counts), show(found, METRIC), above, votes[-1]])
    return Claim(
        f"uncertainty beats random after {after} labels",
        "mean difference to random over the label counts above "
        f"{after}, paired by seed; better: positive in every seed and above two standard errors",
        _count(votes, "better"),
        TextTable("", ["setting", "label counts", "minus random, points", "seeds above", "is"], rows),
    )


def _stabilizes(runs: Runs) -> Claim:
    rows, votes = [], []
    for naive, consistent in _pairs(runs):
        spread = [_spread(s) for s in (naive, consistent)]
        drop = [_mean_drop(s) for s in (naive, consistent)]
        if spread[0] is None or spread[1] is None:
            continue
        votes.append("better" if spread[1] < spread[0] else "worse" if spread[1] > spread[0] else "equal")
        word = {"better": "steadier", "worse": "less steady"}.get(votes[-1], votes[-1])
        rows.append([naive.label, *(f"{100 * value:.2f}" for value in (spread[0], spread[1], *drop)), word])
    header = ["strategy", "s, naive", "s, consistency", "fall, naive", "fall, consistency", "with consistency"]
    return Claim(
        "consistency stabilizes",
        "standard deviation over seeds (points), mean over the label counts after the first; steadier: smaller with "
        "consistency. Fall: mean loss from one round to the next where there is one",
        _count(votes, "better", "steadier"),
        TextTable("", header, rows),
    )


def _leads(runs: Runs) -> Claim:
    span, last = common_range(runs, METRIC), max(runs.label_counts, default=0)
    ranked: list[tuple[Setting, Summary, Summary | None]] = []
    for setting in runs.curves:
        final = summarize_at(setting.curves(METRIC), last)
        if final is not None:
            ranked.append((setting, final, area_summary(setting, METRIC, *span) if span else None))
    by_final = sorted(ranked, key=lambda r: -r[1].mean)
    by_area = sorted((r for r in ranked if r[2] is not None), key=lambda r: -r[2].mean if r[2] else 0.0)
    rows = [
        [
            s.label, str(k + 1), show(final, METRIC),
            str(next((n + 1 for n, other in enumerate(by_area) if other[0] is s), "-")), show(whole, METRIC),
        ]
        for k, (s, final, whole) in enumerate(by_final)
    ]  # fmt: skip
    leaders = {r[0].first.strategy for r in (*by_final[:1], *by_area[:1])}
    names = {s.first.strategy for s in runs.curves}
    verdict = "cannot be said: no ENT-MCD among the runs"
    if "entropy_mcd" in names and len(names) > 1:
        verdict = "yes" if leaders == {"entropy_mcd"} else "in part" if "entropy_mcd" in leaders else "no"
        verdict += f": first at {last} labels {by_final[0][0].label}"
        verdict += f", first by area {by_area[0][0].label}" if by_area else ""
    return Claim(
        "ENT-MCD leads",
        "the highest mean at the last label count and the largest area under the budget curve both belong to ENT-MCD; "
        "whether a lead is more than chance is in the paired comparisons",
        verdict,
        TextTable("", ["setting", f"rank at {last}", f"at {last} labels", "rank by area", "area"], rows),
    )


def _moves_to_zero(runs: Runs) -> Claim:
    rows, votes = [], []
    for naive, consistent in _pairs(runs):
        seeds = [s for s in naive.runs if s in consistent.runs]
        per_seed = [(_last_uncertainty(naive.runs[s]), _last_uncertainty(consistent.runs[s])) for s in seeds]
        if not per_seed:
            continue
        certain = [[float((u < CERTAIN).mean()) for u in pair] for pair in per_seed]
        means = [[float(u.mean()) for u in pair] for pair in per_seed]
        differences = [c - n for n, c in certain]
        found = summarize(differences)
        votes.append(_vote(found, differences))
        share, mean = np.mean(certain, axis=0), np.mean(means, axis=0)
        word = {"better": "yes", "worse": "the opposite"}.get(votes[-1], votes[-1])
        shares = [f"{100 * share[0]:.1f}", f"{100 * share[1]:.1f}", show(found, METRIC)]
        rows.append([naive.label, *shares, f"{mean[0]:.3f}", f"{mean[1]:.3f}", word])
    header = ["strategy", "certain %, naive", "consistency", "difference", "mean nats, naive", "consistency", "to zero"]
    return Claim(
        "uncertainty mass moves to zero with consistency",
        f"share of test knees with a predictive entropy below {CERTAIN:.2f} nats (10 % of the largest) after the last "
        "round; yes: larger with consistency in every seed and by more than two standard errors",
        _count(votes, "better", "moved to zero"),
        TextTable("", header, rows),
    )


def _differences_after(setting: Setting, random: Setting, after: int) -> tuple[list[float], int]:
    """Mean difference of each common seed over the common label counts above `after`, and their number."""
    own, other, differences, n = setting.curves(METRIC), random.curves(METRIC), [], 0
    for seed in own.keys() & other.keys():
        pairs = [
            (a, b) for k in own[seed].n_labeled if k > after
            and (a := own[seed].at(int(k))) is not None and (b := other[seed].at(int(k))) is not None
        ]  # fmt: skip
        if pairs:
            differences.append(float(np.mean([a - b for a, b in pairs])))
            n = len(pairs)
    return differences, n


def _pairs(runs: Runs) -> list[tuple[Setting, Setting]]:
    """Settings that differ in consistency only."""

    def key(setting: Setting) -> tuple[tuple[str, str], ...]:
        hidden = ("loss.consistency", "seed", "data.split_seed", "active.pseudo_by")
        return tuple(sorted((k, repr(v)) for k, v in setting.first.config.items() if k not in hidden))

    naive = {key(s): s for s in runs.curves if not s.first.consistency}
    return [(naive[key(s)], s) for s in runs.curves if s.first.consistency and key(s) in naive]


def _spread(setting: Setting) -> float | None:
    """Standard deviation over the seeds, mean over label counts after the first that all seeds have."""
    curves = list(setting.curves(METRIC).values())
    common = sorted(set.intersection(*({int(n) for n in c.n_labeled} for c in curves)))[1:]
    if len(curves) < 2 or not common:
        return None
    return float(np.mean([np.std(np.array([c.at(n) for c in curves], dtype=np.float64), ddof=1) for n in common]))


def _mean_drop(setting: Setting) -> float:
    """Mean over rounds and seeds of how much the metric fell from the round before; a rise counts as 0."""
    falls = [-np.minimum(np.diff(c.values), 0.0) for c in setting.curves(METRIC).values() if len(c.values) > 1]
    return float(np.concatenate(falls).mean()) if falls else 0.0


def _last_uncertainty(run: Run) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return run.predictions(int(run.rounds["round"].iloc[-1])).uncertainty


def _vote(found: Summary, differences: Sequence[float]) -> str:
    if found.error is None:
        return "one seed: " + ("above" if found.mean > 0 else "below")
    if abs(found.mean) <= 2 * found.error:
        return "unclear"
    if all(d > 0 for d in differences):
        return "better"
    return "worse" if all(d < 0 for d in differences) else "unclear"


def _count(votes: Sequence[str], wanted: str, word: str | None = None) -> str:
    if not votes:
        return "cannot be said from these runs"
    n = sum(v == wanted for v in votes)
    head = "yes" if n == len(votes) else "in part" if n else "no"
    return f"{head}: {word or wanted} in {n} of {len(votes)}"
