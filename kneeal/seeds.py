"""Independent random streams from the one seed of a run."""

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, the same on every machine and in every process.

    Streams of different purposes are independent, so that (say) the knees asked first do not change
    when the network draws more numbers, and a resumed round starts where an uninterrupted one would.

    Args:
        seed: The seed of the run.
        purpose: What the stream is for, for example ("fit", 3).

    Returns:
        An integer in [0, 2^32).
    """
    text = "\x1f".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
