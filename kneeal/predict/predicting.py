"""From a run to a model file, and from a model file to predictions."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kneeal import __version__
from kneeal.acquisition import measures
from kneeal.build.network import arguments, bare_network
from kneeal.build.start import make_source
from kneeal.data.grades import N_GRADES
from kneeal.data.prepared import PreparedDataset
from kneeal.data.source import Source
from kneeal.errors import UserError, reason_of
from kneeal.exchange.model_file import (
    Card,
    Threshold,
    preparation_of,
    read_model,
    refuse_other_preparation,
    write_model,
)
from kneeal.files import check_new_file, check_writable, write_atomic
from kneeal.jobs.open_run import open_run
from kneeal.nn.mc_dropout import MonteCarloDropout, has_dropout
from kneeal.nn.network import SiameseKneeNet
from kneeal.settings import ViewsConfig
from kneeal.stats.metrics import GradedKnees, balanced_accuracy
from kneeal.tables import csv_text
from kneeal.training.lightning_runner import evaluate, load_network
from kneeal.training.posteriors.ensemble import EnsembleRunner

BATCH = 64
_DEVICE = torch.device("cpu")


@dataclass(frozen=True)
class Grading:
    """Predictions of a model for N knees."""

    ids: tuple[str, ...]  #: The knees.
    probs: Tensor  #: [N, C] probabilities of the deterministic pass, which the grade rests on; the members' mean.
    total: Tensor  #: [N] total uncertainty, entropy of the mean over the posterior samples, in nats.
    epistemic: Tensor  #: [N] epistemic uncertainty, mutual information of grade and weights, in nats.

    def rows(self, threshold: float) -> list[list[str]]:
        """Rows of predictions.csv."""
        numbers = torch.cat([self.probs, torch.stack([self.total, self.epistemic], dim=1)], dim=1).tolist()
        kl = self.probs.argmax(dim=1).tolist()
        return [
            [i, str(kl), *(f"{x:.6g}" for x in row), str(int(row[-2] > threshold))]
            for i, kl, row in zip(self.ids, kl, numbers, strict=True)
        ]


PREDICTION_COLUMNS = ["knee_id", "kl", *(f"p{grade}" for grade in range(N_GRADES)), "total", "epistemic", "flag"]


@torch.inference_mode()
def grade(networks: Sequence[SiameseKneeNet], knees: Source, ids: Sequence[str], *, n_samples: int) -> Grading:
    """Grade knees by a network, or by the members of an ensemble that share the frozen part of `knees`.

    `n_samples` are drawn by Monte-Carlo dropout over all members; with 0 the members are the posterior samples.
    """
    each = math.ceil(n_samples / len(networks))
    samplers = [
        MonteCarloDropout(n, each, seed=k, output=lambda output: output.logits) for k, n in enumerate(networks) if each
    ]
    probs, total, epistemic = [], [], []
    size = max(BATCH, knees.batch_size)
    for start in range(0, len(ids), size):
        batch = knees.plain(knees.rows(ids[start : start + size]), _DEVICE)
        point = torch.stack([network(batch).logits.float().log_softmax(dim=-1) for network in networks], dim=1)
        probs.append(point.exp().mean(dim=1))
        log_probs = torch.cat([s(batch).float().log_softmax(dim=-1) for s in samplers], dim=1) if samplers else point
        total.append(measures.entropy(log_probs))
        epistemic.append(measures.mutual_information(log_probs))
    return Grading(tuple(ids), torch.cat(probs), torch.cat(total), torch.cat(epistemic))


def export_run(run: Path, out: Path, *, data: Path | None, flag_share: float, n_samples: int) -> Card:
    """Write the networks of a run's last fit as a model file, with a card that measures what is in the file.

    `flag_share` of the validation knees are flagged for a person.
    """
    opened = open_run(run, data=data, read_only=True)
    check_new_file(out)
    folder = opened.folder
    done = [number for number in folder.evaluated() if folder.checkpoint(number).is_file()]
    if not done:
        raise UserError(f"no finished fit in {run}", "a run with at least one", "continue the run first")
    labeled, row = folder.state(done[-1]).labeled, folder.metrics(done[-1])["row"]
    config, dataset, splits = opened.config, opened.cohort.dataset, opened.cohort.splits
    networks: list[SiameseKneeNet] = []
    while (checkpoint := EnsembleRunner.weights_path(folder.checkpoint(done[-1]), len(networks))).is_file():
        networks.append(bare_network(config).eval())
        load_network(networks[-1], checkpoint)
    if not has_dropout(networks[0]) or config.posterior.method in ("ensemble", "snapshot"):
        n_samples = 0

    source = make_source(networks[0], dataset, config.data.patch_size, config.views, device=_DEVICE)

    def grade_knees(knees: Mapping[str, int], n_samples: int) -> tuple[Grading, Tensor]:
        return grade(networks, source, tuple(knees), n_samples=n_samples), torch.tensor(list(knees.values()))

    _, val = opened.cohort.validation.split(labeled)
    # Without validation knees, knees of the pool show how uncertainty is distributed, though not what it is worth.
    grading, kl = grade_knees(val or dict.fromkeys(folder.state(done[-1]).unlabeled or labeled, -1), n_samples)
    threshold = choose_threshold(grading.probs, grading.total, kl, flag_share=flag_share)
    tested, kl = grade_knees(splits.test, 0)
    card = Card(
        kneeal=__version__,
        network=arguments(config),
        patch_size=config.data.patch_size,
        preparation=preparation_of(dataset.info),
        trained_on={
            "dataset": dataset.fingerprint,
            "knees": len(labeled),
            "patients": len({dataset.manifest.patients[i] for i in labeled}),
            "grades": {str(grade): n for grade, n in sorted(Counter(labeled.values()).items())},
            "pseudo_pool": row["n_pseudo"],
            "validation_knees": len(val),
        },
        run={
            "strategy": config.active.strategy,
            "seed": config.seed,
            "round": row["round"],
            "epochs": config.training.epochs,
        },
        test=evaluate(tested.probs.log(), kl)[0],
        threshold=threshold,
        n_samples=n_samples,
        members=len(networks),
    )
    weights = {_prefix(k) + name: w for k, network in enumerate(networks) for name, w in network.whole_state().items()}
    write_model(out, weights, card)
    return card


def choose_threshold(probs: Tensor, uncertainty: Tensor, kl: Tensor, *, flag_share: float) -> Threshold:
    """Flag the most uncertain share of the validation knees.

    Args:
        probs: [N, C] probabilities.
        uncertainty: [N] total uncertainty in nats.
        kl: [N] grades; -1 where they are not known, and then the accuracies are NaN.
        flag_share: Share of the validation knees to flag, in [0, 1).

    Returns:
        The threshold and the accuracy on what is left.
    """
    if not 0 <= flag_share < 1:
        raise UserError(f"--flag-share {flag_share}", "a share from 0, below 1", "correct the option")
    n = len(kl)
    n_left = n - round(flag_share * n)
    if n_left < 1:
        raise UserError(f"--flag-share {flag_share} of {n} validation knees", "at least one knee left", "lower it")
    threshold = float(uncertainty.sort().values[n_left - 1])
    left = uncertainty <= threshold  # ties stay unflagged, as they will in use
    known = kl >= 0
    right = torch.where(known, (probs.argmax(dim=1) == kl).float(), torch.nan)
    graded = GradedKnees(probs[left & known].double().log().numpy(), kl[left & known].numpy())
    return Threshold(
        uncertainty=threshold,
        share=float((~left).float().mean()),
        accuracy_all=float(right.mean()),
        accuracy_left=float(right[left].mean()),
        balanced_left=balanced_accuracy(graded.confusion),
        n_val=int(known.sum()),
    )


def _prefix(member: int) -> str:
    """What the names of a member's weights begin with; the first member is found as a file of one network is."""
    return f"member.{member}." if member else ""


def open_model(path: Path) -> tuple[list[SiameseKneeNet], Card]:
    """The networks of a model file, with its card."""
    weights, card = read_model(path)
    n_grades = card.network.get("n_grades", N_GRADES)
    if n_grades != N_GRADES:
        raise UserError(
            f"{path} is a model of {n_grades} grades",
            f"a model of {N_GRADES} grades, KL 0 to {N_GRADES - 1}",
            "train a run that starts from it with --init, which takes its backbone, and export that",
        )
    try:
        networks = [SiameseKneeNet(**card.network).eval() for _ in range(card.members)]
        for member, network in enumerate(networks):
            own = {n.removeprefix(_prefix(member)): w for n, w in weights.items() if n.startswith(_prefix(member))}
            network.load_whole_state({n: w for n, w in own.items() if not n.startswith("member.")})
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"the weights in {path} do not fit its card ({reason_of(error)})",
            "a model file as written by `kneeal export`",
            "export the model again",
        ) from error
    return networks, card


def predict_dataset(
    model: Path, data: Path, out: Path, *, only: Sequence[str] | None, allow_preparation: bool
) -> tuple[Grading, Card, PreparedDataset]:
    """Predict a prepared data set, or `only` some of its knees, and write predictions.csv."""
    networks, card = open_model(model)
    dataset = PreparedDataset.open(data)
    if not allow_preparation:
        refuse_other_preparation(card, dataset.info)
    unknown = [i for i in only or () if i not in dataset.row]
    if unknown:
        raise UserError(f"no knee {unknown[0]} in {data}", "knees of the data set", "correct --knee")
    ids = tuple(dict.fromkeys(only or dataset.manifest.ids))
    check_writable(out)
    source = make_source(networks[0], dataset, card.patch_size, ViewsConfig(kept=0), device=_DEVICE)
    grading = grade(networks, source, ids, n_samples=card.n_samples)
    write_atomic(out / "predictions.csv", csv_text([PREDICTION_COLUMNS, *grading.rows(card.threshold.uncertainty)]))
    return grading, card, dataset
