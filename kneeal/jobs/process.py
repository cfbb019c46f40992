"""Process-wide settings of a command: what reaches the terminal, and how memory is kept."""

import ctypes
import logging
import sys
import warnings

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def set_up_process() -> None:
    """Leave the terminal to what matters to the user, and keep freed memory: for a command that works on a run."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning_fabric")
    warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let the C library keep the memory of freed tensors for the next ones, which a CPU's training wants.

    glibc takes every block of more than 32 MB from the system and gives it back when it is freed, so that each pass
    of a full-width network touches all its pages anew. Memory that is kept counts as the process's own to its end.

    Returns:
        Whether it is set: only where the C library is glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, musl for example
        return False
    # -1: nothing is given back. Training at full width frees more than the largest threshold that can be set, 2 GB.
    return bool(mallopt(_MMAP_THRESHOLD, 2**31 - 1) and mallopt(_TRIM_THRESHOLD, -1))
