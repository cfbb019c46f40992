"""A model as one file: weights and a card, in safetensors, so that loading it runs no code."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kneeal.errors import UserError, readable
from kneeal.files import check_new_file, write_atomic

FORMAT = 1
#: How the name of a model file ends.
MODEL_SUFFIX = ".safetensors"
#: Options of a data set that choose knees, or say where they lie, and leave the patches as they are.
_ANY = {"n_knees", "seed", "test_split"}


@dataclass(frozen=True)
class Threshold:
    """When a knee is flagged for a person."""

    uncertainty: float  #: Total uncertainty in nats above which it is.
    share: float  #: Share of the validation knees that is flagged.
    accuracy_all: float  #: Accuracy on all validation knees.
    accuracy_left: float  #: Accuracy on those that are not flagged.
    balanced_left: float  #: Balanced accuracy on those.
    n_val: int  #: Validation knees.


@dataclass(frozen=True)
class Card:
    """Description of a model, kept in its file."""

    kneeal: str  #: Version of the package.
    network: Mapping[str, Any]  #: Arguments of the network.
    patch_size: int  #: Side in px that the network sees.
    preparation: Mapping[str, Any]  #: How its data were prepared: source, patch_px and options.
    trained_on: Mapping[str, Any]  #: Numbers of knees and patients by grade, fingerprint of the data set.
    run: Mapping[str, Any]  #: Strategy, round and settings of the run.
    test: Mapping[str, float]  #: Metrics on the test set.
    threshold: Threshold  #: When a knee is flagged.
    n_samples: int  #: Monte-Carlo dropout samples of a prediction over all members; 0 where none are drawn.
    members: int = 1  #: Networks in the file, whose mean is the prediction.
    #: What it may be used for.
    use: str = "Research. Not a medical device: no output of it may decide on a patient without a physician."


def write_model(path: Path, weights: Mapping[str, Tensor], card: Card) -> None:
    """Write a model, whole or not at all."""
    check_new_file(path)
    metadata = {"format": str(FORMAT), "card": json.dumps(asdict(card), indent=1)}
    data = save({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, metadata=metadata)
    write_atomic(path, data)


def read_model(path: Path) -> tuple[dict[str, Tensor], Card]:
    """Read a model."""
    expected = f"a model file of format {FORMAT}, as written by `kneeal export`"
    with readable(path, expected, "check the path, or export the model again", SafetensorError):
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            card = json.loads(metadata["card"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        if metadata["format"] != str(FORMAT):
            raise ValueError(f"format {metadata['format']}")
        return weights, Card(**{**card, "threshold": Threshold(**card["threshold"])})


def preparation_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for a model to make sense of a data set."""
    options = {key: value for key, value in dict(info.get("options", {})).items() if key not in _ANY}
    return {"source": info.get("source"), "patch_px": info.get("patch_px"), **options}


def refuse_other_preparation(card: Card, info: Mapping[str, Any]) -> None:
    """Refuse a data set that was prepared differently from the one a model was trained on."""
    there, here = card.preparation, preparation_of(info)
    differing = [
        f"{key} ({here.get(key)!r} here, {there.get(key)!r} for the model)"
        for key in sorted({*there, *here})
        if here.get(key) != there.get(key)
    ]
    if differing:
        raise UserError(
            f"a data set that was prepared differently: {', '.join(differing)}",
            "the preparation of the data that the model was trained on",
            "prepare the radiographs as its card says; where scale and position come out the same, say so with "
            "--allow-preparation",
        )
