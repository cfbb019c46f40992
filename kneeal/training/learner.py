"""The Lightning modules: a network in training with its loss and optimizer, and one that predicts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from kneeal.acquisition import Posterior
from kneeal.errors import UserError, reason_of
from kneeal.nn.heads import Head, Softmax
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.nn.network import Output
from kneeal.nn.ssl import Method, Step, ramp_up
from kneeal.stats.metrics import balanced_accuracy

#: The names under which the metrics that choose the best epoch are logged.
ACCURACY, LOSS = "val/balanced_accuracy", "val/loss"
#: Factor by which the prior on biases is stronger.
_BIAS_PRIOR = 10
#: As `torch.compile` calls its modes: "reduce-overhead" replays a step as one captured graph on a GPU.
Mode = Literal["default", "reduce-overhead"]


class Learner(pl.LightningModule):
    """The loss of the head on labeled knees plus a semi-supervised term on them and the pseudo pool: equation (1).

    Args:
        network: Gives an `Output` for patches [N, 2, H, H].
        head: Gives the loss on labeled knees; the softmax head's cross-entropy if None.
        views: Number of views of a labeled knee in that loss; None uses all.
        class_weights: Weights of `head.balance` for that loss.
        method: The semi-supervised term; None leaves it out.
        weight: Weight of that term.
        ramp_up_epochs: Epochs over which the weight rises to its value.
        learning_rate: Adam's learning rate.
        betas: Adam's betas.
        weight_decay: Adam's weight decay.
        prior: Further weight decay, ten times as strong for biases: the precision of a Gaussian prior divided by the
            number of labels. A grade with one or two labels says little about the position of its threshold. The
            weights are pulled to the network's `prior_center`, to 0 where it has none.
        milestones: Epochs at which the learning rate is multiplied by `factor`.
        factor: See `milestones`.
        schedule: "milestones", or "cosine": the learning rate falls to 0 in every step, and `milestones` are ignored.
        steps: Steps of the fit, if they are known in advance.
        n_grades: Number of classes.
        compile_mode: Compiles the training pass (see `compiled`); None leaves it uncompiled.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        *,
        head: Head | None = None,
        views: int | None = None,
        class_weights: Tensor | None = None,
        method: Method | None = None,
        weight: float = 1.0,
        ramp_up_epochs: int = 0,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        prior: float = 0.0,
        milestones: Sequence[int] = (),
        factor: float = 0.1,
        schedule: str = "milestones",
        steps: int | None = None,
        n_grades: int = 5,
        compile_mode: Mode | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._compiled = compiled(network, compile_mode) if compile_mode else None
        self.head = head or Softmax(n_grades)
        self.views = views
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.method = method
        self.weight = weight
        self.ramp_up_epochs = ramp_up_epochs
        self.learning_rate = learning_rate
        self.betas = betas
        self.weight_decay = weight_decay
        self.prior = prior
        self.prior_center: Mapping[str, Tensor] = getattr(network, "prior_center", {})
        self.milestones = tuple(milestones)
        self.factor = factor
        self.schedule = schedule
        self.steps = steps
        self.val_confusion = MulticlassConfusionMatrix(n_grades)
        self.val_loss = MeanMetric()
        #: Loss and labeled knees of each batch of the epoch, on the device until they are read.
        self.losses: list[tuple[Tensor, int]] = []

    def configure_optimizers(self) -> Any:
        """Adam with its learning-rate schedule."""
        by_prior: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            by_prior.setdefault(self._prior_of(name), []).append(parameter)
        groups = [{"params": found, "weight_decay": self.weight_decay + prior} for prior, found in by_prior.items()]
        optimizer = torch.optim.Adam(groups, lr=self.learning_rate, betas=self.betas)
        if self.schedule == "cosine":
            steps = self.steps or int(self.trainer.estimated_stepping_batches)
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            return [optimizer], [{"scheduler": cosine, "interval": "step"}]
        return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, list(self.milestones), self.factor)]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Move the center of the prior, which is a weight decay, from 0 to where the network has it."""
        for name, weight in self.network.named_parameters():
            if name in self.prior_center and weight.grad is not None:
                weight.grad.sub_(self.prior_center[name].to(weight.grad), alpha=self._prior_of(name))

    def _prior_of(self, name: str) -> float:
        return self.prior * (_BIAS_PRIOR if name.endswith("bias") else 1)

    def training_step(self, batch: dict[str, dict[str, Tensor]], batch_idx: int) -> Tensor:
        """The loss of one batch: `labeled` and, where there is one, `pseudo`."""
        labeled, pseudo = batch["labeled"], batch.get("pseudo")
        # One forward pass for all views of all knees: [first views of D_L and U, second views of D_L and U].
        knees = labeled["views"] if pseudo is None else torch.cat([labeled["views"], pseudo["views"]])
        n_knees, n_views = knees.shape[:2]
        output = (self._compiled or self.network)(knees.transpose(0, 1).flatten(0, 1))
        views = [Output(*(part[v * n_knees : (v + 1) * n_knees] for part in output)) for v in range(n_views)]
        kl = labeled["kl"]
        losses = [self.head.loss(view.logits[: len(kl)], kl, self.class_weights) for view in views[: self.views]]
        loss = torch.stack(losses).mean()
        if self.method is not None:
            weight = self.weight * ramp_up(self.current_epoch, self.ramp_up_epochs)
            loss = loss + weight * self.method(Step(self.network, knees, views[0], views[1], kl))
        self.losses.append((loss.detach(), len(kl)))
        return loss

    def on_fit_start(self) -> None:
        """Notify the semi-supervised method that a fit starts."""
        if self.method is not None:
            self.method.started(self.network)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Notify the semi-supervised method that the weights have changed."""
        if self.method is not None:
            self.method.stepped(self.network)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Update the confusion matrix and the mean loss."""
        logits, kl = self.network(batch["patches"]).logits, batch["kl"]
        self.val_confusion.update(logits.argmax(dim=1), kl)
        self.val_loss.update(self.head.loss(logits, kl, self.class_weights), len(kl))

    def on_validation_epoch_end(self) -> None:
        """Log the balanced accuracy and the loss over all devices."""
        accuracy = balanced_accuracy(self.val_confusion.compute().cpu().numpy())
        self.log_dict({ACCURACY: accuracy, LOSS: self.val_loss.compute()}, rank_zero_only=False)
        self.val_confusion.reset()
        self.val_loss.reset()

    def on_train_epoch_start(self) -> None:
        """Forget the losses of the epoch before."""
        self.losses.clear()

    @property
    def epoch_loss(self) -> float:
        """Mean loss of the epoch; NaN before its first batch."""
        n = sum(n for _, n in self.losses)
        return float(sum(loss * n for loss, n in self.losses)) / n if n else float("nan")


def compiled(network: nn.Module, mode: Mode) -> Callable[..., Any]:
    """The forward pass of a network, compiled when it is first called.

    Dropout draws the same numbers as uncompiled, so both give the same up to rounding, which training amplifies.
    Another network with the same layers is not compiled again.

    Args:
        network: Any network that `torch.compile` can follow.
        mode: The mode of `torch.compile`.

    Returns:
        A function with the arguments and results of the network. It raises a `UserError` if the network cannot be
        compiled, for example without a C++ compiler.
    """

    def forward(*inputs: Any) -> Any:
        return network(*inputs)

    fast = torch.compile(forward, options={"fallback_random": True, "triton.cudagraphs": mode == "reduce-overhead"})

    def call(*inputs: Any) -> Any:
        if inputs[0].device.type == "cpu" and TorchVersion(torch.__version__) < "2.9":
            cure = "install a newer PyTorch, or set compute.compile=none"
            raise UserError(f"PyTorch {torch.__version__} crashes in compiled training on a CPU", "2.9 or newer", cure)
        try:
            return fast(*inputs)
        except Exception as error:  # torch's compilers have no common one
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise UserError(
                f"the network cannot be compiled here ({reason_of(error)})",
                "a machine with a C++ compiler and a network that torch.compile can follow",
                "install a compiler (g++ or clang), or set compute.compile=none",
            ) from error

    return call


class Predictor(pl.LightningModule):
    """Predicts batches of knees as a strategy needs it.

    Args:
        network: A trained network.
        posterior: POINT for one deterministic pass, SAMPLES for Monte-Carlo dropout.
        n_samples: Passes of Monte-Carlo dropout.
        seed: Seed of the dropout masks.
        features: Whether to return the features.
    """

    def __init__(
        self, network: nn.Module, *, posterior: Posterior, n_samples: int = 50, seed: int = 0, features: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.sampler: MonteCarloDropout | None = None
        if posterior is Posterior.SAMPLES:
            self.sampler = MonteCarloDropout(network, n_samples, seed=seed, output=lambda output: output.logits)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Positions [B], log probabilities [B, K, C] and, on request, features [B, F], on the CPU.

        A dictionary, since Lightning cannot carry a frozen dataclass.
        """
        patches = batch["patches"]
        result = {"position": batch["position"].cpu()}
        if self.sampler is None or self.features:
            output = self.network(patches)
            logits = output.logits.unsqueeze(1)
            if self.features:
                result["features"] = output.features.float().cpu()
        if self.sampler is not None:
            logits = self.sampler(patches)
        result["log_probs"] = logits.float().log_softmax(dim=-1).cpu()
        return result
