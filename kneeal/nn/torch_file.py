"""Files that torch wrote."""

import pickle
from pathlib import Path
from typing import Any

import torch


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU, read without running code from it.

    Raises:
        ValueError: The file is missing or damaged, or torch did not write it.
    """
    try:
        with path.open("rb") as file:
            if not file.read(2).startswith((b"PK", b"\x80")):  # a zip file, or a pickle
                raise ValueError("torch did not write this file")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose message advises to run code from the file
        raise ValueError("torch did not write it, or it is damaged") from error
    except Exception as error:  # struct, struct, zip, decoding: each kind of damage raises its own
        raise ValueError(str(error) or type(error).__name__) from error
