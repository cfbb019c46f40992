"""The settings of a run: their types, ranges, defaults and meanings."""

from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from kneeal.errors import UserError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Share = Annotated[float, Field(ge=0.0, lt=1.0)]
OpenShare = Annotated[float, Field(gt=0.0, lt=1.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Shift = Annotated[float, Field(ge=0.0, le=0.5)]


def _count(value: object) -> int | Literal["all"]:
    if value == "all":
        return "all"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError("should be a whole number of at least 1, or all")


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("two numbers, the first not above the second")
    return limits


def setting(default: Any, description: str) -> Any:
    """A field with its default, of which each configuration gets a copy, and its meaning."""
    return Field(default, description=description)


#: A number of knees, or all there are.
Count = Annotated[int | Literal["all"], PlainValidator(_count)]
Factors = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ordered)]


class DataConfig(_Section):
    """Which knees."""

    dir: str | None = setting(None, "prepared data set")
    test_site: str | None = setting("E", "site of the test set, if the manifest has no split `test`")
    validation: Literal["free", "budget", "none"] = setting(
        "free", "grades that choose the epoch: given besides the budget, a share of the queried knees, or none"
    )
    val_fraction: OpenShare = setting(0.2, "share of the patients for validation")
    split_seed: int | None = setting(None, "seed of the split; the run's seed if empty")
    patch_size: Annotated[int, Field(ge=8, multiple_of=8)] = setting(128, "side in px that the network sees")


class ViewsConfig(_Section):
    """Random views."""

    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = setting(10.0, "largest rotation in degrees")
    pad: Shift | tuple[Annotated[float, Field(ge=-0.5, le=0.0)], Shift] = setting(
        (-2 / 128, 3 / 128), "shift as a share of the patch: at most so much each way, or from and to"
    )
    border: Literal["black", "reflect"] = setting("black", "what lies outside the patch")
    each: Literal["patch", "knee"] = setting(
        "patch", "a separate view for each patch, or one for both patches of a knee"
    )
    gamma: Factors = setting((0.67, 2.0), "range of the exponent gamma")
    gamma_p: Probability = setting(0.5, "probability of a gamma change")
    noise_std: Annotated[tuple[Share, Share], AfterValidator(_ordered)] = setting(
        (0.0, 0.042), "range of the standard deviation, as a share of the value range"
    )
    noise_p: Probability = setting(0.5, "probability of noise")
    contrast: Factors = setting((0.7, 1.0), "range of the factor of all values")
    contrast_p: Probability = setting(0.5, "probability of a contrast change")
    kept: Annotated[int, Field(ge=0, le=2**16)] = setting(
        8, "random views of each knee that are encoded once, with model.freeze; 0 trains without any"
    )


class ModelConfig(_Section):
    """The network."""

    backbone: str = setting(
        "vgg_like", "the paper's branch, knee_encoder, a network of torchvision (resnet18), or of timm (timm:resnet18)"
    )
    weights: str | None = setting(
        None, "file of weights for the backbone, or default for those that its library publishes"
    )
    freeze: str = setting("none", "part of the backbone that is not trained: none, all, or everything up to a module")
    width: PositiveInt = setting(32, "channels of the first group; vgg_like only")
    dropout: Share = setting(0.35, "dropout after groups 1 to 3; vgg_like only")
    classifier_dropout: Share = setting(0.35, "dropout before the classifier")
    pooling: Literal["hv", "vh", "gap"] = setting(
        "hv", "pooling: horizontal-vertical, vertical-horizontal or global average; vgg_like only"
    )
    head: Literal["softmax", "corn", "cumulative"] = setting(
        "softmax", "the paper's, or one for ordered grades: conditional probabilities or binary problems"
    )


class LossConfig(_Section):
    """Equation (1)."""

    consistency: bool = setting(
        True, "the second term of equation (1); off by default if no score chooses the pseudo pool"
    )
    balance: Literal["none", "weights", "batches"] = setting(
        "none", "give all grades equal weight, in the loss or by how often a knee is drawn"
    )
    method: str = setting("consistency", "method of the second term; docs/beyond.md lists them")
    options: dict[str, Any] = setting({}, "options of the method, for example threshold")
    target: Literal["features", "logits", "probabilities"] = setting(
        "features", "what consistency compares between two views"
    )
    reduction: Literal["mean", "sum"] = setting(
        "mean", "over the d dimensions of the target; sum is equation (1) as printed, d times the mean"
    )
    views: Literal[1, 2] | None = setting(
        None, "views of a labeled knee in the cross-entropy; 2 with consistency and 1 without if empty"
    )
    weight: NonNegativeFloat = setting(1.0, "weight of the second term")
    ramp_up_epochs: NonNegativeInt = setting(0, "epochs until the weight reaches its value; 0 is from the start")


class TrainingConfig(_Section):
    """One fit."""

    epochs: PositiveInt = setting(500, "epochs of a fit")
    steps: PositiveInt | None = setting(
        None, "optimizer steps of a fit, spread over the epochs; one pass per epoch if empty"
    )
    batch_size: PositiveInt = setting(32, "knees per step, over all devices")
    eval_batch_size: PositiveInt = setting(128, "knees per step and device without gradients")
    learning_rate: PositiveFloat = setting(1e-3, "Adam's learning rate")
    betas: tuple[Share, Share] = setting((0.9, 0.99), "Adam's betas")
    weight_decay: NonNegativeFloat = setting(0.0, "Adam's weight decay")
    prior: NonNegativeFloat = setting(
        0.0, "weight decay that falls with the number of labels, tenfold for biases: a Gaussian prior"
    )
    schedule: Literal["milestones", "cosine"] = setting("milestones", "how the learning rate falls")
    milestones: tuple[PositiveInt, ...] = setting(
        (300, 400), "epochs at which the learning rate is multiplied by factor"
    )
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = setting(0.1, "factor of the learning rate at a milestone")
    validate_every: PositiveInt = setting(1, "epochs from one validation to the next")
    start: Literal["reset", "warm"] = setting("reset", "weights at the start of a round")
    init: str | None = setting(None, "file whose branch weights each fit starts from; random if empty")


class ActiveConfig(_Section):
    """Queries and their size."""

    strategy: str = setting("mi_mcd", "acquisition strategy: a name that `kneeal strategies` lists, or file.py:Class")
    options: dict[str, Any] = setting({}, "options of the strategy, for example n_samples")
    n_init: Count = setting(50, "knees of the first query; `all` is every training knee, a baseline of one fit")
    n_query: PositiveInt = setting(50, "knees of each later query")
    budget: Count = setting(800, "labeled knees at the end; `all` is every training knee")
    pseudo_by: str = setting("strategy", "strategy whose score chooses the pseudo pool")
    constraints: list[dict[str, Any]] = setting(
        [], "constraints on every query, for example `[{name: max_per_group, by: patient_id}]`"
    )
    first_query: str = setting("random", "strategy of the first query: random, or one that needs features only")
    first_features: Literal["init", "pixels"] = setting(
        "init", "features for it: of the weights in training.init, or the patches at 16 px"
    )
    stop_when: Literal["never", "stabilizing", "uncertainty", "gain"] = setting(
        "never", "criterion that ends the run before its budget is spent"
    )
    stop_options: dict[str, Any] = setting({}, "options of the criterion, for example `{window: 5}`")


class PosteriorConfig(_Section):
    """What posterior samples are."""

    method: str = setting("mcd", "what draws samples: mcd is Monte-Carlo dropout; docs/beyond.md lists the others")
    members: Annotated[int, Field(ge=2)] = setting(5, "networks of an ensemble, or cycles of a snapshot")


class TrackingConfig(_Section):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "none"] = setting(
        "auto", "auto is WANDB_MODE, else online if an API key is configured, else offline"
    )
    project: str = setting("kneeal", "W&B project")
    entity: str | None = setting(None, "W&B user or team")
    group: str | None = setting(None, "runs shown as one line; strategy and consistency if empty")
    job_type: str = setting("fit", "W&B job type")
    tags: tuple[str, ...] = setting((), "W&B tags")
    knees: bool = setting(False, "also log ids and pictures of queried knees and paths of this machine")


class ComputeConfig(_Section):
    """Where it runs."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = setting("auto", "kind of device")
    devices: PositiveInt = setting(
        1, "number of devices; part of a run's identity, since each draws its own dropout masks"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = setting("32-true", "numeric precision")
    compile: Literal["none", "default", "reduce-overhead"] = setting(
        "none", "trains with torch.compile in the mode of that name; needs a C++ compiler and, on a CPU, PyTorch 2.9"
    )


class RunConfig(_Section):
    """One active-learning run."""

    seed: NonNegativeInt = 0
    data: DataConfig = DataConfig()
    views: ViewsConfig = ViewsConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    active: ActiveConfig = ActiveConfig()
    posterior: PosteriorConfig = PosteriorConfig()
    tracking: TrackingConfig = TrackingConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="before")
    @classmethod
    def _consistency_by_strategy(cls, tree: Any) -> Any:
        """Consistency is on by default only where something chooses the pseudo pool."""
        loss, active = (tree.get(name, {}) for name in ("loss", "active")) if isinstance(tree, dict) else ({}, {})
        if not isinstance(loss, dict) or not isinstance(active, dict) or "consistency" in loss:
            return tree
        chooser, options = active.get("pseudo_by", "strategy"), {}
        if chooser == "strategy":
            chooser, options = active.get("strategy"), active.get("options", {})
        if chooser is not None:
            from kneeal import acquisition  # takes a second to import, which no other setting needs

            with suppress(UserError, TypeError):  # reported where the strategy is made
                if not acquisition.get(str(chooser), **options).scores_uncertainty:
                    return {**tree, "loss": {**loss, "consistency": False}}
        return tree
