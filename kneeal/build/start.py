"""What all fits of a run start from: device, network and its frozen part, and the knees as patches or activations."""

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from kneeal import __version__
from kneeal.build.dataset import Cohort
from kneeal.build.network import make_network
from kneeal.config import RunConfig, keywords
from kneeal.data.activations import FOLDER, Activations
from kneeal.data.prepared import PATCHES, PreparedDataset, noted_checksum
from kneeal.data.source import OneView, PatchSource, Source
from kneeal.data.views import Views
from kneeal.errors import UserError
from kneeal.nn.freezing import NONE, Standardize
from kneeal.nn.network import SiameseKneeNet
from kneeal.seeds import derive_seed
from kneeal.settings import ComputeConfig, ViewsConfig

#: Knees of the training pool that the features are standardized by, at most.
_MEASURED = 5000


@dataclass(frozen=True)
class Start:
    """What all fits of a run start from."""

    network: Callable[[], SiameseKneeNet]  #: Makes a network as a fit starts from it.
    knees: Source  #: What batches are made of.
    #: The network whose frozen part all networks share; None where nothing is frozen.
    template: SiameseKneeNet | None = None

    @property
    def fixed_features(self) -> bool:
        """Whether training changes no feature, only the head."""
        return self.template is not None and next(self.template.branch.parameters(), None) is None


def count_devices() -> dict[str, int]:
    """The number of GPUs and MPS devices that torch sees."""
    return {"gpu": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}


def find_device(compute: ComputeConfig) -> str:
    """The kind of device that a run uses, as torch names it: "cuda", "mps" or "cpu"."""
    count = count_devices()
    kind = compute.accelerator
    if kind == "auto":
        kind = next((name for name in ("gpu", "mps") if count[name]), "cpu")
    if kind != "cpu" and count[kind] < compute.devices:
        found = f"{count[kind]} of {compute.devices}" if count[kind] else "no"
        raise UserError(
            f"compute.accelerator = {compute.accelerator}, but there is {found} {kind} on this machine",
            "devices that torch sees here",
            "choose --accelerator cpu" if not count[kind] else f"give at most --devices {count[kind]}",
        )
    if kind == "cpu" and compute.precision == "16-mixed":
        raise UserError(
            "compute.precision = 16-mixed on a CPU, which would compute in bfloat16",
            "a precision that a CPU has",
            "choose --set compute.precision=bf16-mixed or 32-true",
        )
    return "cuda" if kind == "gpu" else kind


def make_start(config: RunConfig, cohort: Cohort) -> Start:
    """The start of every fit, by the settings of the run."""
    device = torch.device(find_device(config.compute))
    template = make_network(config) if config.model.freeze != NONE else None
    knees = make_source(template, cohort.dataset, config.data.patch_size, config.views, device=device)
    if template is None:
        return Start(lambda: make_network(config), knees)
    return Start(_copies(template, knees, cohort.splits.train), knees, template=template)


def make_source(
    network: SiameseKneeNet | None, dataset: PreparedDataset, size: int, views: ViewsConfig, *, device: torch.device
) -> Source:
    """What a network takes for the knees of a data set: activations of its frozen part, which are kept, or patches.

    Args:
        network: The network; None where nothing of it is frozen.
        dataset: The data set.
        size: Side in px that the network sees.
        views: Settings of the random views.
        device: Where the frozen part computes.
    """
    options = keywords(Views, views)
    patches = PatchSource(dataset.patches, dataset.row, Views(size, **options))
    if network is None or network.encoder is None:
        return patches
    checksum = noted_checksum(dataset.path / PATCHES, dataset.path / FOLDER / f"{PATCHES}.json")
    if checksum != dataset.info["checksums"][PATCHES]:
        print(f"{dataset.path / PATCHES} is not the file that was prepared: knees are encoded anew", file=sys.stderr)
    return Activations(
        patches,
        dataset.row,
        network.encoder,
        n_views=views.kept,
        folder=dataset.path / FOLDER,
        made_of={"kneeal": __version__, "encoder": network.encoder.checksum(), PATCHES: checksum, "patch_size": size},
        view_settings=options,
        device=device,
    )


def in_one_view(start: Start, seed: int, number: int) -> Start:
    """The same start, with each knee in one random view of it."""
    if isinstance(start.knees, Activations):
        kept = start.knees.n_views
        if number >= kept:
            raise UserError(
                f"{number + 1} or more random views of each knee with views.kept = {kept}",
                f"at most {kept}",
                f"raise views.kept to {number + 1} or more, or lower n_samples in active.options",
            )
        return replace(start, knees=OneView(start.knees, lambda knee: number))
    view = derive_seed(seed, "test view", number)
    return replace(start, knees=OneView(start.knees, lambda knee: derive_seed(view, knee)))


def _copies(template: SiameseKneeNet, knees: Source, ids: Sequence[str]) -> Callable[[], SiameseKneeNet]:
    """Makes copies of a network that share its frozen part, each with a new head or that of a model file.

    Features are standardized by these knees, once, also where a model file brings its own mean and deviation: exposure
    and scale differ between two archives, and no grade is needed to take that out.
    """

    @cache
    def standardize() -> None:
        if isinstance(template.standardize, Standardize):
            # By a hash: the sample depends neither on the order of the manifest nor on what the names sort by (sides).
            sample = sorted(ids, key=lambda knee: derive_seed(0, "standardization", knee))[:_MEASURED]
            template.standardize.fit(knees.plain(knees.rows(sample), torch.device("cpu")).flatten(1))

    def network() -> SiameseKneeNet:
        standardize()
        copied = copy.deepcopy(template)
        if not copied.head_loaded:
            copied.reset_head()
        return copied

    return network
