"""From a run to a model file, and from a model file to predictions."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kneeal import __version__
from kneeal.acquisition import measures
from kneeal.build.dataset import fingerprint
from kneeal.build.network import arguments, bare_network
from kneeal.data.grades import N_GRADES
from kneeal.data.prepared import PreparedDataset
from kneeal.data.views import normalize, resize
from kneeal.errors import UserError
from kneeal.exchange.model_file import (
    Card,
    preparation_of,
    read_model,
    refuse_other_preparation,
    write_model,
)
from kneeal.files import write_atomic
from kneeal.jobs.open_run import open_run
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.nn.network import SiameseKneeNet
from kneeal.predict.threshold import choose_threshold
from kneeal.training.lightning_runner import load_network

BATCH = 64


@dataclass(frozen=True)
class Grading:
    """Predictions of a model for N knees.

    Attributes:
        ids: The knees.
        probs: [N, C] probabilities of the deterministic pass, which the grade rests on.
        total: [N] total uncertainty, entropy of the mean over the dropout samples, in nats.
        epistemic: [N] epistemic uncertainty, mutual information of grade and weights, in nats.
    """

    ids: tuple[str, ...]
    probs: Tensor
    total: Tensor
    epistemic: Tensor

    def rows(self, threshold: float) -> list[list[str]]:
        """Rows of predictions.csv."""
        return [
            [
                i,
                str(int(p.argmax())),
                *(f"{x:.6g}" for x in p.tolist()),
                f"{t:.6g}",
                f"{e:.6g}",
                str(int(t > threshold)),
            ]
            for i, p, t, e in zip(self.ids, self.probs, self.total.tolist(), self.epistemic.tolist(), strict=True)
        ]


HEADER = ["knee_id", "kl", *(f"p{grade}" for grade in range(N_GRADES)), "total", "epistemic", "flag"]


@torch.inference_mode()
def grade(
    network: nn.Module, patches: Callable[[str], NDArray[np.uint8]], ids: Sequence[str], *, size: int, n_samples: int
) -> Grading:
    """Grade knees.

    Args:
        network: A trained network.
        patches: Gives the patch pair uint8 [2, H, H] of a knee.
        ids: The knees.
        size: Side in px that the network sees.
        n_samples: Monte-Carlo dropout samples.
    """
    network.eval()
    sampler = MonteCarloDropout(network, n_samples, output=lambda output: output.logits)
    probs, total, epistemic = [], [], []
    for start in range(0, len(ids), BATCH):
        batch = torch.from_numpy(np.stack([normalize(resize(patches(i), size)) for i in ids[start : start + BATCH]]))
        probs.append(network(batch).logits.float().softmax(dim=-1))
        log_probs = sampler(batch).float().log_softmax(dim=-1)
        total.append(measures.entropy(log_probs))
        epistemic.append(measures.mutual_information(log_probs))
    return Grading(tuple(ids), torch.cat(probs), torch.cat(total), torch.cat(epistemic))


def export_run(run: Path, out: Path, *, data: Path | None, flag_share: float, n_samples: int) -> Card:
    """Write the network of a run's last fit as a model file.

    Args:
        run: The run folder.
        out: The model file.
        data: The data set, where it has moved.
        flag_share: Share of the validation knees to flag.
        n_samples: Monte-Carlo dropout samples of a prediction.

    Returns:
        The card.

    Raises:
        UserError: No fit is finished, or something given is wrong.
    """
    opened = open_run(run, data=data)
    folder = opened.folder
    done = [number for number in folder.evaluated() if folder.checkpoint(number).is_file()]
    if not done:
        raise UserError(f"no finished fit in {run}", "a run with at least one", "go on with the run first")
    labeled, row = folder.state(done[-1]).labeled, folder.metrics(done[-1])["row"]
    # Neither model.weights nor training.init: the checkpoint has all weights, and those files may be gone.
    network = bare_network(opened.config)
    load_network(network, folder.checkpoint(done[-1]))
    dataset, val = opened.cohort.dataset, opened.cohort.splits.val
    size = opened.config.data.patch_size
    grading = grade(network, lambda i: dataset.patches[dataset.row[i]], tuple(val), size=size, n_samples=n_samples)
    kl = torch.tensor(list(val.values()))
    threshold = choose_threshold(grading.probs, grading.total, kl, flag_share=flag_share)
    config = opened.config
    card = Card(
        kneeal=__version__,
        network=arguments(config),
        patch_size=size,
        preparation=preparation_of(dataset.info),
        trained_on={
            "dataset": fingerprint(dataset.info),
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
        test={key.removeprefix("test_"): float(row[key]) for key in row if key.startswith("test_")},
        threshold=threshold,
        n_samples=n_samples,
    )
    write_model(out, network.state_dict(), card)
    return card


def open_model(path: Path) -> tuple[nn.Module, Card]:
    """The network of a model file, with its card.

    Raises:
        UserError: The file is no model, or its weights do not fit its card.
    """
    weights, card = read_model(path)
    try:
        network = SiameseKneeNet(**card.network)
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"the weights in {path} do not fit its card ({str(error).splitlines()[0]})",
            "a model file as written by `kneeal export`",
            "export the model again",
        ) from error
    return network.eval(), card


def predict_dataset(
    model: Path, data: Path, out: Path, *, only: Sequence[str] | None, allow_preparation: bool
) -> tuple[Grading, Card, PreparedDataset]:
    """Predict a prepared data set and write predictions.csv.

    Args:
        model: The model file.
        data: The data set.
        out: Folder of the predictions.
        only: Knees; all if None.
        allow_preparation: Whether another preparation is taken.

    Raises:
        UserError: The model or the data set is wrong, or was prepared differently.
    """
    network, card = open_model(model)
    dataset = PreparedDataset.open(data)
    if not allow_preparation:
        refuse_other_preparation(card, dataset.info)
    unknown = [i for i in only or () if i not in dataset.row]
    if unknown:
        raise UserError(f"no knee {unknown[0]} in {data}", "knees of the data set", "correct --knee")
    ids = tuple(only or dataset.manifest.ids)
    grading = grade(
        network, lambda i: dataset.patches[dataset.row[i]], ids, size=card.patch_size, n_samples=card.n_samples
    )  # fmt: skip
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([HEADER, *grading.rows(card.threshold.uncertainty)])
    write_atomic(out / "predictions.csv", text.getvalue())
    return grading, card, dataset
