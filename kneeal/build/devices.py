"""From `compute.*` to a device of this machine."""

import torch

from kneeal.errors import UserError
from kneeal.settings import ComputeConfig


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
