"""Files that torch wrote."""

from pathlib import Path
from typing import Any

import torch


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU, read without running code from it.

    Raises:
        ValueError: The file is missing or damaged, or torch did not write it.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, struct, zip, decoding: each kind of damage raises its own
        raise ValueError(str(error) or type(error).__name__) from error
