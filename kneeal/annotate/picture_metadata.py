"""What the page is told of a knee's picture before it loads it: size, scale, side, and where the patches lie."""

from __future__ import annotations

from typing import Any

from kneeal.exchange.knee_picture import Box, KneePicture
from kneeal.exchange.pictures import Pictures


class Shown:
    """Descriptions of pictures. Kept, since reading a film for its size alone takes a good part of a second.

    Args:
        pictures: The pictures.
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._known: dict[str, dict[str, Any]] = {}

    def __contains__(self, knee_id: str) -> bool:
        """Whether no picture has to be read for it."""
        return knee_id in self._known

    def __getitem__(self, knee_id: str) -> dict[str, Any]:
        """The description of a knee's picture, for JSON."""
        known = self._known.get(knee_id)
        if known is None:
            picture = self._pictures[knee_id]
            known = _say(picture, self._pictures.side(knee_id))
            # A film that cannot be read just now, say on a share that is away, may be read the next time.
            if picture.full or not self._pictures.from_sources:
                self._known[knee_id] = known
        return known


def _say(picture: KneePicture, side: str) -> dict[str, Any]:
    def box(box: Box | None) -> dict[str, float] | None:
        return None if box is None else vars(box)

    return {
        "side": side, "height": picture.pixels.shape[0], "width": picture.pixels.shape[1], "full": picture.full,
        "mm_per_px": picture.mm_per_px, "medial": box(picture.medial), "lateral": box(picture.lateral),
    }  # fmt: skip
