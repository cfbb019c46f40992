"""Files that torch wrote, and files that it did not."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import torch

from kneeal.build.network import make_network
from kneeal.config import validate
from kneeal.errors import UserError
from kneeal.nn.network import SiameseKneeNet
from kneeal.training.lightning_runner import load_network


def written(content: object, *, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


WEIGHTS = {"state_dict": {"network.branch.x": torch.zeros(3)}}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"junk", b"\x80", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(40), bytes(64), b"\xff" * 64,
        written(WEIGHTS)[:-30], written(WEIGHTS, zipped=False)[:100], written([1, 2]), written({"state_dict": [1]}),
        written(WEIGHTS),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_refused_with_one_message(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a checkpoint of this network"):
        load_network(SiameseKneeNet(width=1), path)
    for settings in ({"training": {"init": str(path)}}, {"model": {"weights": str(path), "backbone": "knee_encoder"}}):
        with pytest.raises(UserError, match=re.escape(str(path))) as caught:
            make_network(validate(settings))
        assert "\n" not in caught.value.found and "weights_only" not in caught.value.found


def test_the_default_weights_of_the_encoder_that_ships_are_its_own() -> None:
    networks = [
        make_network(validate({"model": {"backbone": "knee_encoder", "weights": w}})) for w in (None, "default")
    ]
    assert all(torch.equal(a, b) for a, b in zip(*(n.branch.parameters() for n in networks), strict=True))
    with pytest.raises(UserError) as caught:
        make_network(validate({"model": {"backbone": "knee_encoder", "weights": "none.pth"}}))
    assert "the weights that ship" in caught.value.cure
