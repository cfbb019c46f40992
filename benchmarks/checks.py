"""Ours beside independent implementations on the same inputs: writes the first table of docs/checks.md.

    python benchmarks/checks.py [--only WORD] [--print-only]

Needs the extras bench and dev, and statsmodels and lifelines. A library that is not installed says so in its row.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import integrate, stats
from torch import nn
from torch.nn import functional as F

from kneeal import acquisition
from kneeal.acquisition import Predictions, measures
from kneeal.acquisition.clusters import average_linkage
from kneeal.acquisition.geometry import k_means
from kneeal.exchange.model_file import Card, Threshold, read_model, write_model
from kneeal.loop.stopping import cohen_kappa
from kneeal.nn.heads import Corn, Cumulative, Softmax
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.nn.network import Output, SiameseKneeNet
from kneeal.nn.ssl import Step, get
from kneeal.stats.crossed import Accuracies, Estimate, TestSet, holm, spread_ratio
from kneeal.stats.metrics import calibration_curve, weighted_kappa
from kneeal.stats.summary import Curve, area, restricted_labels, summarize
from kneeal.training.lightning_runner import evaluate

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "speed"))
from page import put  # noqa: E402

PAGE = ROOT / "docs" / "checks.md"
N, K, C = 1000, 20, 5
RNG = np.random.default_rng(0)
LOG_PROBS = torch.from_numpy(2.0 * RNG.normal(size=(N, 1, C)) + RNG.normal(size=(N, K, C))).log_softmax(-1)
PROBS = LOG_PROBS.exp().numpy()
MEAN = PROBS.mean(axis=1)
KL = RNG.integers(0, C, N)
FEATURES = RNG.normal(size=(N, 16)) + 6.0 * RNG.normal(size=(20, 16))[RNG.integers(0, 20, N)]

#: What, with what it is compared, and the largest difference.
CHECKS: list[tuple[str, str, Callable[[], float]]] = []


def check(what: str, peer: str) -> Callable[[Callable[[], float]], Callable[[], float]]:
    """Decorator that adds a comparison."""

    def add(compare: Callable[[], float]) -> Callable[[], float]:
        CHECKS.append((what, peer, compare))
        return compare

    return add


def off(ours: Any, theirs: Any) -> float:
    """The largest difference of two arrays."""
    return float(np.max(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))))


def score(name: str, log_probs: torch.Tensor = LOG_PROBS, **options: Any) -> np.ndarray:
    """The score of a strategy."""
    found = acquisition.get(name, **options).score(Predictions(tuple(map(str, range(N))), log_probs))
    return found.numpy()


# -- measures --------------------------------------------------------------------------------------------------------


@check("measure: entropy (total uncertainty)", "scipy")
def _() -> float:
    return off(measures.entropy(LOG_PROBS), stats.entropy(MEAN, axis=1))


@check("measure: expected entropy (data uncertainty)", "scipy")
def _() -> float:
    return off(measures.expected_entropy(LOG_PROBS), stats.entropy(PROBS, axis=2).mean(axis=1))


@check("measure: mutual information", "baal")
def _() -> float:
    from baal.active.heuristics import BALD

    return off(measures.mutual_information(LOG_PROBS), BALD().get_uncertainties(PROBS.transpose(0, 2, 1)))


@check("measure: least confidence", "scikit-activeml")
def _() -> float:
    from skactiveml.pool import uncertainty_scores

    return off(measures.least_confidence(LOG_PROBS), uncertainty_scores(MEAN, method="least_confident"))


@check("measure: margin", "scikit-activeml")
def _() -> float:
    from skactiveml.pool import uncertainty_scores

    return off(score("margin"), uncertainty_scores(MEAN, method="margin_sampling"))


@check("measure: variation ratio", "scipy")
def _() -> float:
    votes = PROBS.argmax(axis=2)
    return off(score("variation_ratio"), 1 - stats.mode(votes, axis=1).count / K)


@check("measure: expected variance of the grade", "scipy")
def _() -> float:
    variances = [stats.rv_discrete(values=(np.arange(C), p / p.sum())).var() for p in MEAN]
    return off(score("expected_grade_variance"), variances)


@check("measure: EPIG", "baal, in single precision")
def _() -> float:
    from baal.active.heuristics.heuristics import EPIG

    few = slice(0, 200)
    theirs = EPIG().get_uncertainties(PROBS[few].transpose(0, 2, 1), PROBS[few].transpose(0, 2, 1))
    pool = Predictions(tuple(map(str, range(200))), LOG_PROBS[few])
    return off(acquisition.get("epig", n_targets=200).score(pool), theirs)


# -- strategies that choose jointly ----------------------------------------------------------------------------------


@check("strategy: MaxHerding, knees of 12 that differ", "scikit-activeml")
def _() -> float:
    from skactiveml.pool import MaxHerding

    y = np.full(N, np.nan)
    y[:5] = 0
    peer = MaxHerding(metric="rbf", metric_dict={"gamma": 1.0}, random_state=0)
    theirs = {int(row) for row in peer.query(FEATURES, y, batch_size=12)}
    ids, x = [str(k) for k in range(N)], torch.from_numpy(FEATURES)
    labeled = Predictions(tuple(ids[:5]), None, x[:5])
    # Ours covers the unlabeled knees, the peer all of them; five of a thousand change no choice here.
    ours = acquisition.get("max_herding").select(Predictions(tuple(ids[5:]), None, x[5:]), 12, labeled=labeled, seed=0)
    return len(theirs ^ {int(i) for i in ours}) / 2


@check("clustering: average linkage, pairs of points that are apart in one and together in the other", "scipy")
def _() -> float:
    from scipy.cluster.hierarchy import fcluster, linkage

    few = FEATURES[:300]
    theirs = fcluster(linkage(few, "average"), 40, "maxclust")
    ours = average_linkage(torch.from_numpy(few), 40).numpy()
    return float(((ours[:, None] == ours) != (theirs[:, None] == theirs)).sum() / 2)


@check("clustering: k-means, inertia above the best of 10 starts, as a share", "scikit-learn")
def _() -> float:
    from sklearn.cluster import KMeans

    theirs = KMeans(20, n_init=10, random_state=0).fit(FEATURES).inertia_
    x = torch.from_numpy(FEATURES)
    inertia = min(
        float((x - centers[labels]).square().sum())
        for centers, labels in (k_means(x, 20, torch.Generator().manual_seed(seed)) for seed in range(10))
    )
    return max(0.0, inertia / theirs - 1)


# -- network and losses ----------------------------------------------------------------------------------------------


@check("network: features and logits at full size, written out with torch's own functions", "torch.nn.functional")
def _() -> float:
    torch.manual_seed(0)
    network = SiameseKneeNet().eval().double()
    knees = torch.rand(2, 2, 128, 128, dtype=torch.float64) * 2 - 1
    weights = [p for p in network.branch.parameters() if p.ndim == 4]

    def block(x: torch.Tensor, weight: torch.Tensor, stride: int = 1) -> torch.Tensor:
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return F.leaky_relu(F.instance_norm(x), 0.2)

    def branch(x: torch.Tensor) -> torch.Tensor:
        for weight, stride in zip(weights, [1, 1, 1, 2, 1, 2, 1, 2, 1], strict=False):
            x = block(x, weight, stride)
        return block(x.max(dim=3, keepdim=True).values, weights[-1]).max(dim=2).values[:, :, 0]

    features = torch.cat([branch(knees[:, :1]), branch(knees[:, 1:])], dim=1)
    with torch.no_grad():
        output = network(knees)
        return max(off(output.features, features), off(output.logits, F.linear(features, network.classifier.weight)))


@check("posterior: Monte-Carlo dropout, mean and SD of 20,000 samples, in standard errors", "baal")
def _() -> float:
    from baal.bayesian.dropout import patch_module

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.4), nn.Linear(32, C)).eval()
    x, n = torch.randn(1, 6), 20_000
    with torch.no_grad():
        ours = MonteCarloDropout(network, n_samples=n, seed=0)(x)[0].numpy()
        theirs = patch_module(network, inplace=False)(x.expand(n, 6)).numpy()
    spread = ours.std(axis=0)
    means = np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) / (spread * (2 / n) ** 0.5)
    spreads = np.abs(spread / theirs.std(axis=0) - 1) / (1 / n) ** 0.5
    return float(max(means.max(), spreads.max()))


@check("loss: CORN, and cumulative (binary cross-entropy of each threshold)", "coral-pytorch")
def _() -> float:
    from coral_pytorch import losses
    from coral_pytorch.dataset import levels_from_labelbatch

    z, kl = torch.from_numpy(RNG.normal(size=(N, C - 1))), torch.from_numpy(KL)
    corn, cumulative = Corn(C), Cumulative(C)
    levels = levels_from_labelbatch(kl, C).double()
    # Their CORN is the mean over pairs of a knee and a problem, ours the sum over the problems and the mean over knees.
    pairs = sum(int(part.sum()) for part, _ in corn.problems(kl))
    return max(
        off(corn.loss(corn.logits(z), kl), losses.corn_loss(z, kl, C) * pairs / N),
        off(cumulative.loss(cumulative.logits(z), kl), losses.coral_loss(z, levels)),
    )


@check("loss: weights of `loss.balance`", "scikit-learn")
def _() -> float:
    from sklearn.utils.class_weight import compute_class_weight

    skewed = np.minimum(KL, RNG.integers(0, C, N))
    theirs = compute_class_weight("balanced", classes=np.arange(C), y=skewed)
    return off(Softmax(C).balance(np.bincount(skewed).tolist()), theirs)


@check("loss: consistency, the mean and equation (1) as printed", "torch.nn.functional")
def _() -> float:
    first, second = (torch.from_numpy(RNG.normal(size=(32, 512))) for _ in range(2))
    empty = torch.empty(0)
    step = Step(nn.Identity(), empty, Output(empty, first), Output(empty, second), empty)
    squares = ((first - second).norm(dim=1) ** 2).mean()
    return max(
        off(get("consistency")(step), F.mse_loss(first, second)),
        off(get("consistency", reduction="sum")(step) / 512, squares / 512),
    )


@check("loss: mean teacher, weights of the teacher after 50 steps", "torch.optim.swa_utils")
def _() -> float:
    from torch.optim.swa_utils import AveragedModel

    torch.manual_seed(0)
    network = nn.Linear(8, 8)
    method = get("mean_teacher", decay=0.9)
    method.started(network)

    def average(mean: Any, now: Any, n: Any) -> Any:
        decay = min(0.9, 1 - 1 / (int(n) + 1))
        return decay * mean + (1 - decay) * now

    peer = AveragedModel(network, avg_fn=average)
    peer.update_parameters(network)  # the first call copies
    for _ in range(50):
        with torch.no_grad():
            network.weight.add_(torch.randn(8, 8))
        method.stepped(network)
        peer.update_parameters(network)
    return off(method.teacher.weight, peer.module.weight.detach())


# -- metrics ---------------------------------------------------------------------------------------------------------


@check("metrics: balanced accuracy, quadratic kappa, MAE, NLL, recalls, confusion matrix", "scikit-learn")
def _() -> float:
    from sklearn import metrics

    found, confusion = evaluate(torch.from_numpy(MEAN).log(), torch.from_numpy(KL))
    predicted = MEAN.argmax(axis=1)
    theirs = {
        "balanced_accuracy": metrics.balanced_accuracy_score(KL, predicted),
        "quadratic_kappa": metrics.cohen_kappa_score(KL, predicted, weights="quadratic"),
        "mae": metrics.mean_absolute_error(KL, predicted),
        "nll": metrics.log_loss(KL, MEAN),
        **{f"recall_{k}": r for k, r in enumerate(metrics.recall_score(KL, predicted, average=None))},
    }
    return max(off(confusion, metrics.confusion_matrix(KL, predicted)), *(off(found[k], v) for k, v in theirs.items()))


@check("metrics: expected calibration error, 15 bins", "torchmetrics, in single precision")
def _() -> float:
    from torchmetrics.functional.classification import multiclass_calibration_error

    theirs = multiclass_calibration_error(torch.from_numpy(MEAN), torch.from_numpy(KL), C, n_bins=15, norm="l1")
    return off(calibration_curve(MEAN, KL).ece, theirs)


@check("figure: calibration curve", "scikit-learn")
def _() -> float:
    from sklearn.calibration import calibration_curve as theirs

    curve = calibration_curve(MEAN, KL)
    accuracy, confidence = theirs(MEAN.argmax(axis=1) == KL, MEAN.max(axis=1), n_bins=15)
    return max(off(curve.accuracy, accuracy), off(curve.confidence, confidence))


@check("agreement of readers: linear and quadratic kappa; agreement of rounds: Cohen's kappa", "scikit-learn")
def _() -> float:
    from sklearn.metrics import cohen_kappa_score, confusion_matrix

    second = np.clip(KL + RNG.integers(-1, 2, N), 0, C - 1)
    table = confusion_matrix(KL, second)
    return max(
        off(weighted_kappa(table, 1), cohen_kappa_score(KL, second, weights="linear")),
        off(weighted_kappa(table, 2), cohen_kappa_score(KL, second, weights="quadratic")),
        off(cohen_kappa(KL.tolist(), second.tolist()), cohen_kappa_score(KL, second)),
    )


# -- statistics ------------------------------------------------------------------------------------------------------


@check("statistics: p-value and interval over seeds alone (the patients' part is 0)", "scipy")
def _() -> float:
    values = RNG.normal(0.02, 0.02, 7)
    ours = Estimate.of(Accuracies(values, np.zeros((7, 3))))
    theirs = stats.ttest_1samp(values, 0)
    return max(off(ours.p_value, theirs.pvalue), off(ours.interval(), theirs.confidence_interval(0.95)))


@check("statistics: p-value over seeds and patients, by numerical integration", "scipy.integrate")
def _() -> float:
    worst = 0.0
    for mean, seeds, patients, n in [(0.03, 1e-4, 5e-5, 3), (0.05, 2e-4, 1e-4, 5), (0.02, 1e-5, 1e-4, 20)]:
        spread = patients**0.5

        def beyond(t: float, mean: float = mean, seeds: float = seeds, spread: float = spread, n: int = n) -> float:
            upper = stats.norm.sf((mean - t * seeds**0.5) / spread) + stats.norm.cdf((-mean - t * seeds**0.5) / spread)
            return float(stats.t.pdf(t, n - 1) * upper)

        theirs = integrate.quad(beyond, -np.inf, np.inf, epsabs=1e-12, limit=500)[0]
        worst = max(worst, off(Estimate(mean, seeds, patients, n).p_value, theirs))
    return worst


@check("statistics: variance over patients with several knees each (cluster-robust)", "statsmodels")
def _() -> float:
    import statsmodels.api as sm

    patient = RNG.integers(0, 150, 400)
    correct = (RNG.random(400) < 0.6) & (RNG.random(150)[patient] < 0.8)
    test_set = TestSet.of([0] * 400, [f"{p:04d}" for p in patient])
    ours = Estimate.of(test_set.balanced_accuracy(correct[None]))
    theirs = sm.OLS(correct.astype(float), np.ones(400)).fit(cov_type="cluster", cov_kwds={"groups": patient})
    return off(ours.patients, float(theirs.cov_params()[0, 0]))


@check("statistics: Holm's correction", "statsmodels")
def _() -> float:
    from statsmodels.stats.multitest import multipletests

    p = RNG.random(40) ** 3
    return off(holm(p.tolist()), multipletests(p, method="holm")[1])


@check("statistics: ratio of standard deviations, p-value (permutation), interval (Pitman and Morgan)", "scipy")
def _() -> float:
    a, b = RNG.normal(0, 2, 9), RNG.normal(0, 1, 9)
    found, gaps = spread_ratio(a, b), [np.abs(x - np.median(x)) for x in (a, b)]
    exchanged = stats.permutation_test(gaps, lambda x, y, axis: (x - y).mean(axis), permutation_type="samples")
    ends = [stats.pearsonr(a / end + b, a / end - b).pvalue for end in (found.low, found.high)]
    return max(off(found.p_value, exchanged.pvalue), off(ends, [0.05, 0.05]))


@check("statistics: seeds needed for a power of 80 %, in seeds, 2 to 30 of them", "statsmodels")
def _() -> float:
    from statsmodels.stats.power import TTestPower

    worst = 0.0
    for effect in (0.6, 0.8, 1.0, 1.5, 2.0, 3.0):
        ours = Estimate(effect, 1.0 / 5, 0.0, 5).seeds_needed(0.05)
        powers = {n: TTestPower().power(effect, n, 0.05) for n in range(2, 60)}
        worst = max(worst, off(ours, min(n for n, power in powers.items() if power >= 0.8)))
    return worst


@check("table: standard error, and area under a curve", "scipy")
def _() -> float:
    values = RNG.random(6)
    labels = np.array([50, 100, 200, 350, 500, 800])
    theirs = integrate.trapezoid(values, labels) / 750
    return max(
        off(summarize(values.tolist()).error, stats.sem(values)),
        off(area(Curve(labels, values), 50, 800), theirs),
    )


@check("table: labels needed, restricted mean over seeds that never get there, in labels", "lifelines")
def _() -> float:
    from lifelines import KaplanMeierFitter
    from lifelines.utils import restricted_mean_survival_time

    labels = [50, 200, 350, 500]
    curves = [Curve(np.array(labels), np.sort(RNG.uniform(0.2, 0.5, 4))) for _ in range(20)]
    found = [restricted_labels(curve, 0.4, 500) for curve in curves]
    fitted = KaplanMeierFitter().fit([n for n, _ in found], [reached for _, reached in found])
    return off(np.mean([n for n, _ in found]), restricted_mean_survival_time(fitted, t=500))


# -- files -----------------------------------------------------------------------------------------------------------


@check("file: model.safetensors, read by the published layout with json and numpy", "the format's description")
def _() -> float:
    weights = {"a": torch.randn(3, 4), "b.c": torch.randn(5)}
    card = Card("", {}, 8, {}, {}, {}, {}, Threshold(0.1, 0.5, 0.5, 0.5, 0.5, 3), 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        write_model(path, weights, card)
        data = path.read_bytes()
        back = read_model(path)[0]
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    worst = 0.0
    for name, tensor in weights.items():
        entry = header[name]
        start, end = entry["data_offsets"]
        read = np.frombuffer(body[start:end], "<f4").reshape(entry["shape"])
        worst = max(worst, off(tensor, read), off(tensor, back[name]))
    return worst


def main() -> None:
    """Compare and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--print-only", action="store_true")
    options = parser.parse_args()
    lines = ["| what | compared with | largest difference |", "| --- | --- | --- |"]
    for what, peer, compare in CHECKS:
        if options.only not in f"{what} {peer}":
            continue
        try:
            shown = f"{compare():.2g}"
        except ImportError as error:
            shown = f"not installed here ({error.name})"
        lines.append(f"| {what} | {peer} | {shown} |")
        print(lines[-1], flush=True)
    names = ("torch", "numpy", "scipy", "scikit-learn", "scikit-activeml", "baal", "coral-pytorch", "statsmodels",
             "lifelines", "torchmetrics")  # fmt: skip
    said = f"{N} knees, {K} posterior samples, {C} grades, in double precision where nothing else is said. "
    said += f"Versions: {', '.join(f'{name} {version(name)}' for name in names)}. Written by `make bench-checks`."
    if not options.print_only and not options.only:
        put(PAGE, "checks", "\n".join([*lines, "", said]), "benchmarks/checks.py")


if __name__ == "__main__":
    main()
