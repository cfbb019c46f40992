"""Whether a test set is large enough for its balanced accuracy to mean much."""

import math
from collections.abc import Sequence

#: The widest interval, in points to either side, that a test set gets without a word.
WIDEST = 5.0
#: Knees of a grade below which its recall is not near a normal distribution (n p >= 5 with p = 1/2).
FEWEST = 10


def expected_half_width(counts: Sequence[int]) -> float:
    """Half the width of the 95 % interval of balanced accuracy to expect of a test set.

    Balanced accuracy is the mean of C recalls, each a share of n_g knees, so its variance is the sum of
    p_g (1 - p_g) / n_g over C squared; p_g is taken as 1/2, where that is largest. Knees count as independent.

    Args:
        counts: [C] test knees of each grade; a grade without one has no part in balanced accuracy.

    Returns:
        Points of 100; 0 for no knees.
    """
    present = [n for n in counts if n]
    return 100 * 1.96 * 0.5 * math.sqrt(sum(1 / n for n in present)) / max(1, len(present))


def warn_of_few_knees(counts: Sequence[int]) -> str | None:
    """A warning if a test set is too small for its balanced accuracy to tell much, None if it is not.

    It is too small where the expected 95 % interval is wider than 5 points to either side, or a grade has fewer than
    10 knees.

    Args:
        counts: [C] test knees of each grade.
    """
    width = expected_half_width(counts)
    few = [f"{n} with KL {grade}" for grade, n in enumerate(counts) if n < FEWEST]
    if width <= WIDEST and not few:
        return None
    found = f"; only {', '.join(few)}" if few else ""
    return f"small test set: the 95 % interval of balanced accuracy may reach ±{width:.0f} points{found}"
