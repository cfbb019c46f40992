"""The loop's runner on PyTorch Lightning, fresh for every fit, and the evaluation of a network on graded knees."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LambdaCallback
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

from kneeal.acquisition import Needs, Posterior, Predictions, measures
from kneeal.data.batches import EvaluationBatches, training_batches
from kneeal.data.source import Source
from kneeal.data.splits import Validation
from kneeal.errors import UserError, reason_of
from kneeal.files import disk_errors, move_whole
from kneeal.loop.events import SILENT, FitProgress
from kneeal.loop.runner import Evaluation
from kneeal.nn.mc_dropout import dropout_modules
from kneeal.nn.network import read_torch
from kneeal.pool import PoolState
from kneeal.seeds import derive_seed
from kneeal.stats.metrics import METRICS, GradedKnees
from kneeal.training.callbacks import BestEpoch, EpochReports, PredictionTable
from kneeal.training.learner import Learner, Predictor


@dataclass(kw_only=True, eq=False)
class LightningRunner:
    """Trains, evaluates and predicts for `kneeal.loop`."""

    make_network: Callable[[], nn.Module]  #: A new network with random weights.
    #: Wraps a network with loss and optimizer, given the grades that it trains on.
    make_learner: Callable[[nn.Module, Sequence[int]], Learner]
    knees: Source  #: What batches are made of.
    #: Splits the labels of a round into knees to train on and knees that choose the epoch.
    validation: Validation
    test_knees: Mapping[str, int]  #: Test knees and grades.
    accelerator: str = "auto"  #: "auto", "cpu", "gpu" or "mps".
    devices: int = 1  #: Number of devices.
    precision: str = "32-true"  #: Lightning's name of the numeric precision, for example "bf16-mixed".
    epochs: int  #: Epochs of a fit.
    batch_size: int = 32  #: Training knees per batch, over all devices.
    eval_batch_size: int = 128  #: Knees per batch and device without gradients.
    steps: int | None = None  #: Steps of a fit, spread over its epochs; None makes each epoch a pass over the knees.
    validate_every: int = 1  #: Epochs from one validation to the next.
    consistency: bool = True  #: Whether training sees the pseudo pool.
    n_views: int = 2  #: Views of each knee in training.
    balance: str = "none"  #: "batches" draws every grade of the labeled knees equally often.
    seed: int = 0  #: Seed of the run.
    progress: FitProgress = SILENT  #: Notified of epochs and predicted knees.

    def check_samples(self, n_samples: int, network: nn.Module) -> None:
        """Refuse a network without dropout, from which no sample can be drawn."""
        dropout_modules(network)

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        """Train from new weights, or from `previous`; keep the best epoch, or the last where none is validated."""
        train, val = self.validation.split(state.labeled)
        seed = derive_seed(self.seed, "fit", state.round)
        pl.seed_everything(seed, verbose=False)
        network = self.make_network()
        if previous is not None:
            load_network(network, previous)
        learner = self.make_learner(network, tuple(train.values()))
        folder = checkpoint.parent / "fit"
        best = BestEpoch(folder / "best.ckpt")
        # Each device has its own dropout masks, after all have drawn the same initial weights.
        masks = LambdaCallback(
            on_fit_start=lambda trainer, _: torch.manual_seed(derive_seed(seed, "device", trainer.global_rank))
        )
        trainer = self._trainer(
            callbacks=[best, masks, EpochReports(self.progress)],
            max_epochs=self.epochs,
            check_val_every_n_epoch=min(self.validate_every, self.epochs),
            limit_val_batches=1.0 if val else 0,
            reload_dataloaders_every_n_epochs=0 if self.steps is None else 1,
        )
        share = _share(trainer)
        batches = training_batches(
            self.knees,
            train,
            state.pseudo if self.consistency else (),
            n_views=self.n_views,
            seed=derive_seed(self.seed, "views", state.round),
            balanced=self.balance == "batches",
            batch_size=self.batch_size,
            epochs=self.epochs,
            steps=self.steps,
            **share,
        )
        validation = EvaluationBatches(self.knees, tuple(val), val, batch_size=self.eval_batch_size, **share)
        with disk_errors(folder):
            trainer.fit(learner, batches, validation)
            if trainer.is_global_zero:
                move_whole(best.path, checkpoint)
                shutil.rmtree(folder, ignore_errors=True)
            trainer.strategy.barrier()
        return {} if best.accuracy is None else {"balanced_accuracy": best.accuracy}

    def test(self, checkpoint: Path, round: int, needs: Needs) -> Evaluation:
        """Evaluate on the test set: metrics by the deterministic pass, uncertainty by the strategy's posterior."""
        return evaluate_test(
            lambda ids, needs: self.predict(checkpoint, round, ids, needs, what="test"), self.test_knees, needs
        )

    def predict(
        self, checkpoint: Path | None, round: int, ids: Sequence[str], needs: Needs, *, what: str = "pool"
    ) -> Predictions:
        """Predict knees, in the order of `ids` for any number of devices; progress is reported as that of `what`."""
        network = self.make_network()
        if checkpoint is not None:
            load_network(network, checkpoint)
        # Features alone come with a deterministic pass, whose probabilities are dropped again.
        predictor = Predictor(
            network,
            posterior=needs.posterior,
            n_samples=needs.n_samples,
            seed=derive_seed(self.seed, "dropout", round),
            features=needs.features,
        )
        collected = PredictionTable(len(ids), self.progress, what)
        trainer = self._trainer(callbacks=[collected])
        batches = EvaluationBatches(self.knees, ids, batch_size=self.eval_batch_size, **_share(trainer))
        trainer.predict(predictor, batches, return_predictions=False)
        table = _gather(collected.columns, trainer)
        positions = table["position"]
        if sorted(positions.tolist()) != list(range(len(ids))):
            raise RuntimeError(f"{len(ids)} knees were to be predicted but {len(positions)} came back")
        if trainer.world_size > 1:  # one process predicts in order
            order = positions.argsort()
            table = {name: column[order] for name, column in table.items()}
        log_probs = None if needs.posterior is Posterior.NONE else table["log_probs"]
        return Predictions(tuple(ids), log_probs, table["features"] if needs.features else None)

    def _trainer(self, callbacks: Sequence[Callback], **options: Any) -> pl.Trainer:
        # Deterministic mode would fill all new memory, on a GPU with an extra kernel, to reveal reads of uninitialized
        # values.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        return pl.Trainer(
            accelerator=self.accelerator,
            devices=self.devices,
            strategy="auto" if self.devices == 1 else "ddp",
            precision=self.precision,  # type: ignore[arg-type]
            logger=False,
            enable_checkpointing=False,
            callbacks=list(callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            deterministic="warn",
            **options,
        )


def evaluate(log_probs: Tensor, kl: Tensor) -> tuple[dict[str, float], list[list[int]]]:
    """Every metric of a set of graded knees.

    Args:
        log_probs: [N, C] predictive log-probabilities in nats.
        kl: [N] true KL grades.

    Returns:
        `kneeal.stats.metrics.METRICS` by name, and the confusion matrix [C, C] (row = true grade).
    """
    knees = GradedKnees(log_probs.detach().double().cpu().numpy(), kl.detach().long().cpu().numpy())
    return {name: metric.compute(knees) for name, metric in METRICS.items()}, knees.confusion.tolist()


def evaluate_test(
    predict: Callable[[tuple[str, ...], Needs], Predictions], test: Mapping[str, int], needs: Needs
) -> Evaluation:
    """Metrics of the point estimate; uncertainty of the samples if the strategy uses samples."""
    ids, kl = tuple(test), tuple(test.values())
    point = samples = predict(ids, Needs(Posterior.POINT)).require_log_probs()
    if needs.posterior is Posterior.SAMPLES:
        samples = predict(ids, replace(needs, features=False)).require_log_probs()
    metrics, confusion = evaluate(point[:, 0], torch.tensor(kl))
    return Evaluation(metrics, confusion, ids, kl, point[:, 0].exp(), measures.entropy(samples))


def is_first_process() -> bool:
    """Whether this is the process that writes: the first of those that Lightning starts, one for each device."""
    return getattr(rank_zero_only, "rank", 0) in (0, None)


def load_network(network: nn.Module, checkpoint: Path) -> None:
    """Load the weights of a learner's checkpoint into a network.

    Raises:
        UserError: The file is not a checkpoint of such a network, or its training diverged.
    """
    try:
        weights = read_torch(checkpoint)["state_dict"]
        network.load_state_dict(
            {name.removeprefix("network."): w for name, w in weights.items() if name.startswith("network.")}
        )
    except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{checkpoint} is not a checkpoint of this network ({reason_of(error)})",
            "a checkpoint that kneeal wrote with the same model settings",
            "restore the weight files that the run was started with, or remove the folder of that round and start "
            "again with --resume",
        ) from error
    if not all(bool(torch.isfinite(weight).all()) for weight in network.parameters()):
        raise UserError(
            f"the training of {checkpoint} diverged: its weights are not finite",
            "a training whose loss stays finite",
            "begin a new run with a lower training.learning_rate (or loss.weight)",
        )


def _share(trainer: pl.Trainer) -> dict[str, Any]:
    """What a loader needs to know of this process."""
    return {"rank": trainer.global_rank, "world_size": trainer.world_size, "device": trainer.strategy.root_device}


def _gather(table: dict[str, Tensor], trainer: pl.Trainer) -> dict[str, Tensor]:
    """The rows of all processes, one process after another."""
    if trainer.world_size == 1:
        return table
    parts: list[dict[str, np.ndarray[Any, Any]]] = [{} for _ in range(trainer.world_size)]
    torch.distributed.all_gather_object(parts, {name: tensor.numpy() for name, tensor in table.items()})
    filled = [part for part in parts if part]
    return {name: torch.from_numpy(np.concatenate([part[name] for part in filled])) for name in filled[0]}
