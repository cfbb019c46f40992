"""What all fits of a run start from: the network with its frozen part, and the knees as patches or activations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kneeal import __version__
from kneeal.build.dataset import Cohort
from kneeal.build.devices import find_device
from kneeal.build.keywords import keywords
from kneeal.build.network import make_network
from kneeal.config import RunConfig
from kneeal.data.activations import FOLDER, Activations, ActivationView
from kneeal.data.batches import PatchSource, Source
from kneeal.data.device_views import DeviceViews
from kneeal.data.prepared import PATCHES, PreparedDataset
from kneeal.data.store import Patches, PatchStore, StoredPatches
from kneeal.data.views import Views, resize
from kneeal.errors import UserError
from kneeal.nn.freezing import NONE, Standardize
from kneeal.nn.network import SiameseKneeNet
from kneeal.seeds import derive_seed
from kneeal.settings import ViewsConfig
from kneeal.training.posteriors.augmented import ViewedPatches

#: Knees of the training pool that the features are standardized by, at most.
_MEASURED = 5000


@dataclass(frozen=True)
class Start:
    """What all fits of a run start from.

    Attributes:
        network: Makes a network as a fit starts from it.
        knees: What batches are made of on the device, or patch pairs by knee id for the loader's workers.
        views: Random views by the workers; None where `knees` has its own.
        template: The network whose frozen part all networks share; None where nothing is frozen.
    """

    network: Callable[[], SiameseKneeNet]
    knees: Source | Patches
    views: Views | None = None
    template: SiameseKneeNet | None = None

    @property
    def fixed_features(self) -> bool:
        """Whether training changes no feature, only the head."""
        return self.template is not None and not any(True for _ in self.template.branch.parameters())


def make_start(config: RunConfig, cohort: Cohort) -> Start:
    """The start of every fit, by the settings of the run.

    Raises:
        UserError: A setting is wrong, or a file of weights does not fit.
    """
    frozen = config.model.freeze != NONE
    if frozen and config.views.where == "worker":
        raise UserError(
            f"views.where = worker with model.freeze = {config.model.freeze}",
            "random views that are made on the device, where they are encoded",
            "set views.where=device",
        )
    dataset, size = cohort.dataset, config.data.patch_size
    if config.views.where == "worker":
        patches = StoredPatches(dataset.patches, dataset.row)
        return Start(lambda: make_network(config), patches, Views(size, **keywords(Views, config.views)))
    template = make_network(config) if frozen else None
    device = torch.device(find_device(config.compute))
    knees = make_source(template, dataset, size, config.views, device=device)
    if template is None:
        return Start(lambda: make_network(config), knees)
    copies = _Copies(template, lambda: _measured(knees, tuple(cohort.splits.train)))
    return Start(copies, knees, template=template)


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
    patches = _patch_source(StoredPatches(dataset.patches, dataset.row), size, views)
    if network is None or network.encoder is None:
        return patches
    return Activations(
        patches,
        dataset.row,
        network.encoder,
        n_views=views.kept,
        folder=dataset.path / FOLDER,
        made_of={
            "kneeal": __version__,
            "encoder": network.encoder.checksum(),
            PATCHES: dataset.info["checksums"][PATCHES],
            "patch_size": size,
        },
        views=keywords(DeviceViews, views),
        device=device,
    )


def in_one_view(start: Start, config: RunConfig, cohort: Cohort, number: int) -> Start:
    """The same start, with each knee in one random view of it.

    Raises:
        UserError: Fewer views of each knee are kept.
    """
    if isinstance(start.knees, Activations):
        return Start(start.network, ActivationView(start.knees, number))
    size = config.data.patch_size
    views = Views(size, **keywords(Views, config.views))
    viewed = ViewedPatches(
        StoredPatches(cohort.dataset.patches, cohort.dataset.row),
        lambda pair, draw: views(resize(pair, size), draw),
        derive_seed(config.seed, "test view", number),
    )
    return Start(start.network, viewed if start.views else _patch_source(viewed, size, config.views), start.views)


def _patch_source(patches: Patches, size: int, views: ViewsConfig) -> PatchSource:
    return PatchSource(PatchStore(patches, size), DeviceViews(size, **keywords(DeviceViews, views)))


class _Copies:
    """Copies of a network that share its frozen part, each with a new head.

    Args:
        template: The network.
        features: Features [M, F] of knees before they are standardized, asked for once.
    """

    def __init__(self, template: SiameseKneeNet, features: Callable[[], Tensor]) -> None:
        self._template = template
        self._features: Callable[[], Tensor] | None = None if template.head_loaded else features

    def __call__(self) -> SiameseKneeNet:
        if self._features is not None and isinstance(self._template.standardize, Standardize):
            self._template.standardize.fit(self._features())
            self._features = None
        network = copy.deepcopy(self._template)
        if not network.head_loaded:
            network.reset_head()
        return network


def _measured(knees: Source, ids: tuple[str, ...]) -> Tensor:
    step = -(-len(ids) // _MEASURED)
    return knees.plain(knees.rows(ids[::step]), torch.device("cpu")).flatten(1)
