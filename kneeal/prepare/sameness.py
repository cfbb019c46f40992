"""Which knees are one picture: in another encoding, bit depth, window or size, a little shifted, or mirrored."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import PATCH_PX
from kneeal.prepare.tables import KneeRow

_Pair = NDArray[np.uint8]
#: Side of a patch in a fingerprint, and of the square whose mean and contrast are taken from each of its pixels.
_SMALL_PX, _SMALL_SQUARE_PX = 16, 3
#: Correlation of fingerprints above which knees may be one picture, and above which their pixels are equal.
_MAYBE, _EQUAL = 0.7, 0.998
#: Between them, blocks of the patches are looked for within a reach of 1.5 mm. Of one picture, half of them are at
#: least so much alike; of 6,604 knees, both of each person, no two reach 0.79.
_BLOCK_PX, _REACH_PX, _SQUARE_PX, _ALIKE = 40, 4, 15, 0.85
#: Detail of less contrast, such as that of a black border, tells nothing.
_FLAT = 0.05
_AT_ONCE, _NAMED = 128, 20


def fingerprint(pair: _Pair) -> NDArray[np.float16]:
    """The detail of a patch pair uint8 [2, 128, 128]: float16 [2, 16, 16] of norm 1, or 0 where there is none."""
    size = (_SMALL_PX, _SMALL_PX)
    small = (cv2.resize(patch, size, interpolation=cv2.INTER_AREA).astype(np.float32) for patch in pair)
    detail = np.stack([_detail(patch, _SMALL_SQUARE_PX) for patch in small])
    return np.asarray(detail / max(float(np.linalg.norm(detail)), 1e-6), np.float16)


def same_knees(prints: Sequence[NDArray[np.float16]], load: Callable[[int], _Pair]) -> list[list[int]]:
    """Positions of the knees that are one picture, for each picture that occurs more than once.

    Each knee is compared with the most similar one before it, of the 20,000 of 10,000 radiographs in seconds; where
    the fingerprints leave a doubt, `load` gives the patch pairs.
    """
    first = list(range(len(prints)))
    flat = np.array(prints, np.float32).reshape(len(prints), 2, _SMALL_PX**2) / np.sqrt(2)
    # A mirrored knee has its patches in the other order: the correlation of their sums stays, that of their
    # differences changes its sign.
    added, subtracted = flat.sum(axis=1), flat[:, 0] - flat[:, 1]
    for start in range(0, len(prints), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        unturned = subtracted[rows] @ subtracted[: rows.stop].T
        alike = added[rows] @ added[: rows.stop].T + np.abs(unturned)
        alike[np.arange(alike.shape[1]) >= np.arange(len(alike))[:, None] + start] = -1
        for row, other in enumerate(alike.argmax(axis=1).tolist()):
            turned = -1 if unturned[row, other] < 0 else 1
            if alike[row, other] >= _EQUAL or (
                alike[row, other] >= _MAYBE and _agreement(load(start + row), load(other)[::turned]) >= _ALIKE
            ):
                first[start + row] = first[other]
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for position, other in enumerate(first):
        groups[other].append(position)
    return [group for group in groups.values() if len(group) > 1]


def tell_same(groups: Sequence[Sequence[KneeRow]]) -> str:
    """What to say of groups of knees that are one picture each.

    How many of them are in two splits and under two grades, then names: those that do harm first, each by the two that
    differ most.
    """
    torn = [group for group in groups if len({row.split for row in group}) > 1]
    graded = [group for group in groups if len({row.grade for row in group} - {None}) > 1]
    ranked = {
        group[0].where: sorted(group, key=lambda row: (str(row.grade), row.split))
        for group in [*graded, *torn, *groups]
    }
    names = [f"{group[0].where} = {group[-1].where}" for group in ranked.values()]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    harm = "; the results would be too good or wrong" if torn or graded else ""
    counted = f"({len(torn)} of them in two splits, {len(graded)} under two grades)"
    return f"{counted}: {'; '.join(names[:_NAMED])}{more}{harm}"


def _agreement(one: _Pair, other: _Pair) -> float:
    """The median of how well blocks of two patch pairs agree where they agree best, -1 to 1."""
    found = []
    for patches in zip(one, other, strict=True):
        x, y = (_detail(cv2.GaussianBlur(p.astype(np.float32), (0, 0), 1.5), _SQUARE_PX) for p in patches)
        starts = range(_REACH_PX, PATCH_PX - _BLOCK_PX, _BLOCK_PX)
        for top, left in np.stack(np.meshgrid(starts, starts), -1).reshape(-1, 2):
            block = x[top : top + _BLOCK_PX, left : left + _BLOCK_PX]
            end = _BLOCK_PX + _REACH_PX
            around = y[top - _REACH_PX : top + end, left - _REACH_PX : left + end]
            flat = min(block.std(), around.std()) < _FLAT
            found.append(0.0 if flat else cv2.matchTemplate(around, block, cv2.TM_CCOEFF_NORMED).max())
    return float(np.median(found))


def _detail(patch: NDArray[np.float32], square: int) -> NDArray[np.float32]:
    """The patch without the mean and contrast around each pixel, which window, exposure and tone change."""
    detail = patch - cv2.blur(patch, (square, square))
    return np.asarray(detail / (np.sqrt(np.abs(cv2.blur(detail * detail, (square, square)))) + 1), np.float32)
