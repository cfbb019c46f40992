"""The automatic localizer: coarse, then fine, then once more from where the first look pointed.

Metal (markers of lead, and implants) is bright and even with a steep border, which bone is not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kneeal.localizer.networks import (
    COARSE_MM,
    COARSE_STRIDE,
    FINE_MM,
    FINE_PX,
    KNEE_MAP,
    MARKER_CLASSES,
    MARKER_MAP,
    MARKER_MM,
    MARKER_PX,
    METAL_PX,
    NATURAL,
    NO_KNEE,
    REPLACED,
    load_networks,
    map_points,
)
from kneeal.localizer.quality import Localization, LocalizedKnee, LocalizedMarker
from kneeal.localizer.windows import cut_window, shrink, stretch, to_radiograph

#: Where the first look does not find two knees for sure but the map of knees has a peak of this height, others follow,
#: brighter (a power of the gray) and as if pixels were larger, which helps with dark pictures of small knees.
_SECOND_LOOK_PEAK, _SURE = 0.4, 0.7
#: Height of the peak of the map of knees from which what it shows is no other body part.
_CLEAR_PEAK = 0.8
_SECOND_LOOKS = ((0.35, 1.2), (0.7, 1.2), (0.35, 1.0))

Points = NDArray[np.float64]

_KNEE_PEAK, _MARKER_PEAK = 0.25, 0.2
_KNEES_APART_MM, _MARKERS_APART_MM = 70.0, 25.0
_MAX_SPOTS = 5
#: Disagreement in mm of the looks at one knee at which the score has fallen to 0.6 of what it would be.
_DISAGREEMENT_MM = 5.0
#: Radiographs larger than this (in mm) are no radiograph of two knees; their borders are not looked at.
_LARGEST_MM = 700.0
#: Height, width and pixel size in mm of the window in which an implant is looked for.
_HEIGHT_MM, _WIDTH_MM, _STEP_MM = 90.0, 76.0, 0.5
#: A knee has metal where the network shows so many mm² of it with this probability.
_SHOWN, _SHOWN_MM2 = 0.9, 60.0
#: Metal, and what may be metal, by one of: shares of the brightest gray of the window that it exceeds, smallest area in
#: mm², and how much darker its surroundings are. Measured: docs/prepare.md.
_METAL = (((0.98, 0.93), 150.0, 50.0),)
_MAYBE_METAL = (((0.98,), 60.0, 20.0), ((0.93, 0.88, 0.8), 60.0, 65.0), ((0.75, 0.7), 60.0, 75.0))
#: Probability of metal that is believed whatever is seen, and contrast in levels below which nothing is.
_CERTAIN, _EVEN = 0.9, 25.0
#: A letter of lead: smallest area in mm², contrast in levels, share of it by which the border drops, mm off the center.
_LETTER_MM2, _LETTER_CONTRAST, _LETTER_DROP, _LETTER_OFF_MM = 15.0, 40.0, 0.8, 8.0


class Localizer:
    """Finds knees and side markers, by the weights that ship with the package or others."""

    def __init__(self, weights: Path | None = None) -> None:
        self.coarse, self.fine, self.marker, self.metal = load_networks(weights)

    @torch.inference_mode()
    def find(self, radiograph: NDArray[np.uint8], mm_per_px: tuple[float, float]) -> Localization:
        """Look at a radiograph.

        Args:
            radiograph: uint8 [H, W], bone bright, scaled between its percentiles.
            mm_per_px: Height and width of its pixels.
        """
        half, half_mm = shrink(radiograph, mm_per_px, MARKER_MM)
        found, peak = self._look(half, half_mm)
        knees = [weigh(knee, radiograph, mm_per_px, clear=peak >= _CLEAR_PEAK) for knee in found.knees]
        if peak >= _SECOND_LOOK_PEAK and _n_sure(knees) != 2:
            for gamma, size in _SECOND_LOOKS:
                tones = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
                look, _ = self._look(tones[half], (half_mm[0] * size, half_mm[1] * size))
                again = [replace(k, center_mm=(k.center_mm[0] / size, k.center_mm[1] / size)) for k in look.knees]
                # A pair confirms itself; what is seen of one knee alone in this way is mostly a lateral view.
                if _n_sure(again) == 2:
                    knees = [weigh(knee, radiograph, mm_per_px, clear=False) for knee in again]
                    break
        return Localization(tuple(self._with_metal(knees, half, half_mm)), found.markers)

    def _look(self, half: NDArray[np.uint8], half_mm: tuple[float, float]) -> tuple[Localization, float]:
        """What is on a radiograph of about `MARKER_MM` a pixel, and the highest value of the map of knees."""
        small, small_mm = shrink(half, half_mm, COARSE_MM)
        limit = round(_LARGEST_MM / COARSE_MM)
        small = small[:limit, :limit]
        if min(small.shape) < 16:
            return Localization((), ()), 0.0
        canvas = _batch(small.astype(np.float32)[None, None] / np.float32(255))
        maps = self.coarse(canvas).sigmoid()[0].numpy()
        spots = [_peaks(maps[KNEE_MAP], small_mm, _KNEE_PEAK, _KNEES_APART_MM),
                 _peaks(maps[MARKER_MAP], small_mm, _MARKER_PEAK, _MARKERS_APART_MM)]  # fmt: skip
        knees = self._look_at_knees(half, half_mm, spots[0]) if spots[0] else []
        markers = self._read_markers(half, half_mm, spots[1]) if spots[1] else []
        found = Localization(tuple(sorted(knees, key=lambda k: k.center_mm)), tuple(markers))
        return found, float(maps[KNEE_MAP].max())

    def _look_at_knees(
        self, radiograph: NDArray[np.uint8], mm_per_px: tuple[float, float], spots: list[tuple[float, float]]
    ) -> list[LocalizedKnee]:
        first = self._plateau_edges(radiograph, mm_per_px, [(spot, 0.0) for spot in spots])[0][0]
        frames = [_frame(ends) for ends in first]
        (second, mirrored), (kinds, kinds_mirrored) = self._plateau_edges(radiograph, mm_per_px, frames, mirror=True)
        knees = []
        for k in range(len(spots)):
            ends = (second[k] + mirrored[k]) / 2
            apart = max(np.abs(second[k] - mirrored[k]).max(), 0.5 * np.abs(first[k] - ends).max())
            kind = (kinds[k] + kinds_mirrored[k]) / 2
            width = float(np.hypot(*(ends[1] - ends[0])))
            # A plateau is 60 to 100 mm wide; what is far from it is something else.
            odd = max(0.0, 55 - width, width - 105)
            score = float(kind[NATURAL] * np.exp(-0.5 * ((apart + odd) / _DISAGREEMENT_MM) ** 2))
            knees.append(LocalizedKnee(*_frame(ends), score, float(kind[REPLACED]), float(kind[NO_KNEE])))
        return knees

    def _plateau_edges(
        self,
        radiograph: NDArray[np.uint8],
        mm_per_px: tuple[float, float],
        frames: list[tuple[tuple[float, float], float]],
        *,
        mirror: bool = False,
    ) -> tuple[Points, NDArray[np.float64]]:
        """The plateau edges on the radiograph, seen in windows at these places and angles, and the classes.

        Returns:
            [looks, frames, 2, 2] and [looks, frames, 3]; with `mirror` there are two looks, at the windows and at their
            mirror images.
        """
        windows = stretch(
            np.stack([cut_window(radiograph, mm_per_px, spot, angle, FINE_PX, FINE_MM) for spot, angle in frames])
        )
        looks = [windows, windows[..., ::-1]] if mirror else [windows]
        maps, kinds = self.fine(_batch(np.concatenate(looks)))  # one batch costs less than two
        points = map_points(maps).numpy().astype(np.float64).reshape(len(looks), len(frames), 2, 2)
        points[1:] = (points[1:] * (-1.0, 1.0))[:, :, ::-1]
        ends = np.array([[to_radiograph(pair, *frame) for pair, frame in zip(look, frames, strict=True)]
                         for look in points])  # fmt: skip
        return ends, kinds.softmax(-1).numpy().astype(np.float64).reshape(len(looks), len(frames), -1)

    def _with_metal(
        self, knees: Sequence[LocalizedKnee], radiograph: NDArray[np.uint8], mm_per_px: tuple[float, float]
    ) -> Iterator[LocalizedKnee]:
        """The knees; those in which the network shows metal have the probability 1 of it."""
        for knee in knees:
            window = cut_window(radiograph, mm_per_px, knee.center_mm, knee.angle_deg, METAL_PX, MARKER_MM)
            shown = self.metal(_batch(window.astype(np.float32)[None, None] / np.float32(255))).sigmoid() >= _SHOWN
            yield replace(knee, replaced=1.0) if float(shown.sum()) * (2 * MARKER_MM) ** 2 >= _SHOWN_MM2 else knee

    def _read_markers(
        self, radiograph: NDArray[np.uint8], mm_per_px: tuple[float, float], spots: list[tuple[float, float]]
    ) -> list[LocalizedMarker]:
        windows = np.stack([cut_window(radiograph, mm_per_px, spot, 0.0, MARKER_PX, MARKER_MM) for spot in spots])
        kinds = self.marker(_batch(stretch(windows))).softmax(-1).numpy()
        best = kinds.argmax(1)
        found = [
            LocalizedMarker(MARKER_CLASSES[kind], spot, float(p[kind]))
            for spot, kind, p, window in zip(spots, best, kinds, windows, strict=True)
            if MARKER_CLASSES[kind] and _shows_letter(window, MARKER_MM)
        ]
        return sorted(found, key=lambda marker: marker.center_mm)


def _n_sure(knees: Sequence[LocalizedKnee]) -> int:
    """How many knees are found for sure, natural or replaced."""
    return sum(knee.score >= _SURE or knee.replaced >= _SURE for knee in knees)


def _batch(pictures: NDArray[np.float32]) -> Tensor:
    """A batch in the order of memory that convolutions on a processor are fastest with."""
    return torch.from_numpy(pictures).contiguous(memory_format=torch.channels_last)


def _peaks(
    probability: NDArray[np.float32], mm_per_px: tuple[float, float], min_peak: float, apart_mm: float
) -> list[tuple[float, float]]:
    """Places of the highest peaks, (x, y) in mm, each the center of mass of its surroundings."""
    step = (mm_per_px[0] * COARSE_STRIDE, mm_per_px[1] * COARSE_STRIDE)
    left = probability.copy()
    spots: list[tuple[float, float]] = []
    while len(spots) < _MAX_SPOTS:
        _, value, _, (x, y) = cv2.minMaxLoc(left)
        if value < min_peak:
            break
        rows, columns = slice(max(0, y - 2), y + 3), slice(max(0, x - 2), x + 3)
        weight = probability[rows, columns]
        ys, xs = np.mgrid[rows.start : rows.start + weight.shape[0], columns.start : columns.start + weight.shape[1]]
        total = float(weight.sum())
        spots.append(
            (float((weight * xs).sum() / total + 0.5) * step[1], float((weight * ys).sum() / total + 0.5) * step[0])
        )
        reach = (round(apart_mm / step[0]), round(apart_mm / step[1]))
        left[max(0, y - reach[0]) : y + reach[0] + 1, max(0, x - reach[1]) : x + reach[1] + 1] = 0
    return spots


def _frame(ends: Points) -> tuple[tuple[float, float], float]:
    """The center between two plateau edges, and the angle of the line through them in degrees."""
    (x, y), (across, down) = ends.mean(axis=0), ends[1] - ends[0]
    return (float(x), float(y)), float(np.rad2deg(np.arctan2(down, across)))


class _Part(NamedTuple):
    """A connected bright part of a window."""

    drop: float  #: How much darker the surroundings are, in levels.
    off_px: float  #: From the middle of the window to the part's, in px.
    whole: bool  #: Whether it lies within the window.


def weigh(
    knee: LocalizedKnee, radiograph: NDArray[np.uint8], mm_per_px: tuple[float, float], *, clear: bool
) -> LocalizedKnee:
    """The knee as its gray bears it out.

    In an even area there is none. Metal that is seen has the probability 1; where nothing could be metal, and the map
    of knees is clear, a network that is not certain of metal is wrong, and the other classes remain.
    """
    size = round(_HEIGHT_MM / _STEP_MM)
    margin = round((_HEIGHT_MM - _WIDTH_MM) / 2 / _STEP_MM)
    window = cut_window(radiograph, mm_per_px, knee.center_mm, knee.angle_deg, size, _STEP_MM)[:, margin:-margin]
    # Something brighter elsewhere, such as a frame, may leave metal below white.
    low, high, brightest = np.percentile(window, (5, 95, 99.8))
    if high - low < _EVEN:
        return replace(knee, score=0.0, nothing=1.0)

    def shows(shares: Sequence[float], area_mm2: float, drop: float) -> bool:
        parts = (_bright_parts(window, share * brightest, area_mm2 / _STEP_MM**2, border_px=2) for share in shares)
        return any(part.drop >= drop for part in chain.from_iterable(parts))

    if any(shows(*metal) for metal in _METAL):
        return replace(knee, replaced=1.0)
    if clear and knee.replaced < _CERTAIN and not any(shows(*metal) for metal in _MAYBE_METAL):
        return replace(knee, replaced=0.0, score=knee.score / (1 - knee.replaced))
    return knee


def _shows_letter(window: NDArray[np.uint8], mm_per_px: float) -> bool:
    """Whether what is in the middle of a window could be a letter of lead, as an edge of bone or skin is not."""
    edge = len(window) // 5
    # The letter itself covers 3 % of the middle.
    ground, top = np.median(window), np.percentile(window[edge:-edge, edge:-edge], 97)
    contrast = float(top - ground)
    return contrast >= _LETTER_CONTRAST and any(
        part.whole and part.drop >= _LETTER_DROP * contrast and part.off_px * mm_per_px <= _LETTER_OFF_MM
        for part in _bright_parts(window, float(ground + top) / 2, _LETTER_MM2 / mm_per_px**2, border_px=1)
    )


def _bright_parts(window: NDArray[np.uint8], level: float, min_px: float, *, border_px: int) -> Iterator[_Part]:
    """The connected parts above a level and an area; their surroundings begin so many px outside and are as wide."""
    square = np.ones((2 * border_px + 1,) * 2, np.uint8)
    n, labels, boxes, centers = cv2.connectedComponentsWithStats((window >= level).astype(np.uint8))
    height, width = window.shape
    for k in range(1, n):
        x, y, across, down, area = map(int, boxes[k])
        if area < min_px:
            continue
        part = (labels == k).astype(np.uint8)
        near = cv2.dilate(part, square)
        around = cv2.dilate(near, square) > near
        if around.any():
            drop = float(np.median(window[part > 0]) - np.median(window[around]))
            off = float(np.hypot(*(centers[k] - ((width - 1) / 2, (height - 1) / 2))))
            yield _Part(drop, off, x > 0 and y > 0 and x + across < width and y + down < height)
