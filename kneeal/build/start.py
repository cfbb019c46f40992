"""What all fits of a run start from: the network and its frozen part, and the knees as patches or activations."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kneeal import __version__
from kneeal.build.dataset import Cohort
from kneeal.build.devices import find_device
from kneeal.build.keywords import keywords
from kneeal.build.network import make_network
from kneeal.config import RunConfig
from kneeal.data.activations import FOLDER, Activations
from kneeal.data.prepared import PATCHES, PreparedDataset
from kneeal.data.source import OneView, PatchSource, Source
from kneeal.data.views import Views
from kneeal.errors import UserError
from kneeal.nn.freezing import NONE, Standardize
from kneeal.nn.network import SiameseKneeNet
from kneeal.seeds import derive_seed
from kneeal.settings import ViewsConfig

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
        return self.template is not None and not any(True for _ in self.template.branch.parameters())


def make_start(config: RunConfig, cohort: Cohort) -> Start:
    """The start of every fit, by the settings of the run."""
    template = make_network(config) if config.model.freeze != NONE else None
    device = torch.device(find_device(config.compute))
    knees = make_source(template, cohort.dataset, config.data.patch_size, config.views, device=device)
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
    options = keywords(Views, views)
    patches = PatchSource(dataset.patches, dataset.row, Views(size, **options))
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
        views=options,
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


class _Copies:
    """Copies of a network that share its frozen part, each with a new head or that of a model file.

    Features are standardized by these knees also where a model file brings its own mean and deviation: exposure and
    scale differ between two archives, and no grade is needed to take that out.

    Args:
        template: The network.
        features: Computes features [M, F] of knees before standardization; called once.
    """

    def __init__(self, template: SiameseKneeNet, features: Callable[[], Tensor]) -> None:
        self._template = template
        self._features: Callable[[], Tensor] | None = features

    def __call__(self) -> SiameseKneeNet:
        if self._features is not None and isinstance(self._template.standardize, Standardize):
            self._template.standardize.fit(self._features())
            self._features = None
        network = copy.deepcopy(self._template)
        if not network.head_loaded:
            network.reset_head()
        return network


def _measured(knees: Source, ids: tuple[str, ...]) -> Tensor:
    # By a hash, so that the sample depends neither on the order of the manifest nor on what the names sort by (sides).
    sample = sorted(ids, key=lambda knee: derive_seed(0, "standardization", knee))[:_MEASURED]
    return knees.plain(knees.rows(sample), torch.device("cpu")).flatten(1)
