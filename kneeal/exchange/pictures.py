"""The picture of a knee as a person sees it: from its source file with both patches marked, else the patches.

Nothing here decides what the network sees; it says where on the source picture that lies.
"""

import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import MM_PER_PX, PATCH_PX, place_patches
from kneeal.data.prepared import PreparedDataset
from kneeal.errors import UserError
from kneeal.files import check_folder
from kneeal.localizer.pose import KneePose, cut_region
from kneeal.prepare.folder import read_gray
from kneeal.prepare.pictures import JOINT_OFFSET_MM, ROI_MM
from kneeal.radiograph import ReadOptions, read_radiograph
from kneeal.tables import finite

#: Columns of the manifest that say where on its radiograph a knee is; `kneeal.prepare` writes them.
POSE_COLUMNS = ("x_mm", "y_mm", "angle_deg")
#: How the names of DICOM files end.
DICOM_SUFFIXES = (".dcm", ".dicom", "")
_GAP_PX = 8


@dataclass(frozen=True)
class Box:
    """A rectangle on a picture, in px; x to the right, y down."""

    x: float  #: Its left edge.
    y: float  #: Its upper edge.
    width: float  #: To the right.
    height: float  #: Downward.


@dataclass(frozen=True, eq=False)
class KneePicture:
    """What a reader sees of a knee."""

    pixels: NDArray[Any]  #: uint8 or uint16 [H, W], not mirrored.
    medial: Box | None  #: Where the medial patch lies, None if that is not known.
    lateral: Box | None  #: Where the lateral patch lies.
    mm_per_px: float | None  #: Size of a pixel, None if that is not known.
    full: bool  #: Whether it comes from the source picture, at its resolution; if not, it is both patches side by side.


class Pictures:
    """Pictures of the knees of a prepared data set; safe for many threads.

    Args:
        dataset: The data set.
        images: Folder that the column `path` of its manifest is relative to; None shows the patches.
        bits: Of a radiograph's gray: 8, as the model sees it, or up to 16 for a reader's window and contrast.
    """

    def __init__(self, dataset: PreparedDataset, images: Path | None = None, *, bits: int = 8) -> None:
        if images is not None:
            check_folder(images, "the folder that the pictures were prepared from", "check --images")
        self.images = images
        #: L or R by knee.
        self.sides = dataset.manifest.column("side")
        self._paths = dataset.manifest.column("path")
        self._dataset = dataset
        self._bits = bits
        self._options: Mapping[str, Any] = dataset.info.get("options", {})

    def source(self, knee_id: str) -> Path | None:
        """The source file of a knee, None where it is missing; never a file outside the folder.

        Raises:
            OSError: The folder cannot be read, or is empty as where a share is not mounted.
        """
        if self.images is None or not self._paths[knee_id]:
            return None
        try:
            root = self.images.resolve()
            path = (root / self._paths[knee_id]).resolve()
        except RuntimeError as error:  # raised by Python before 3.13 for circular links
            raise OSError("circular links") from error
        if not any(root.iterdir()):
            raise OSError("the folder of pictures is empty")
        try:
            is_file = stat.S_ISREG(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_file = False
        return path if is_file and path.is_relative_to(root) else None

    def __getitem__(self, knee_id: str) -> KneePicture:
        """The picture of a knee; its patches where there is no source picture, or a damaged one.

        Raises:
            OSError: The source picture cannot be read at the moment.
        """
        path = self.source(knee_id)
        if path is not None:
            path.open("rb").close()  # what the system does not open is not a damaged picture
            with suppress(UserError):  # the patches were cut from it once: they are what is left of it
                return self._from_source(knee_id, path)
        pair = self._dataset.patches[self._dataset.row[knee_id]]
        return side_by_side(np.asarray(pair), self.sides[knee_id])

    def _from_source(self, knee_id: str, path: Path) -> KneePicture:
        options, side = self._options, self.sides[knee_id]
        row = self._dataset.manifest.frame.iloc[self._dataset.row[knee_id]]
        x, y, angle = (finite(row.get(column)) for column in POSE_COLUMNS)
        if x is not None and y is not None and angle is not None:
            # The region that the patches were cut from: read as it was then, at the radiograph's resolution.
            apply_voi = bool(options.get("apply_voi", True))
            how = ReadOptions(options.get("mm_per_px"), options.get("magnification"), apply_voi, bits=self._bits)
            radiograph = read_radiograph(path, how)
            region, mm_per_px = cut_region(radiograph.gray, radiograph.mm_per_px, KneePose(side, (x, y), angle))
            return KneePicture(region, *patch_boxes(region.shape, mm_per_px, side), mm_per_px, full=True)
        pixels = read_source(path, self._bits)
        if self._dataset.info.get("source") != "folder":
            return KneePicture(pixels, None, None, None, full=True)
        mm_per_px = float(options.get("mm_per_px") or options.get("roi_mm", ROI_MM) / pixels.shape[1])
        offset = float(options.get("joint_offset_mm", JOINT_OFFSET_MM))
        boxes = patch_boxes(pixels.shape, mm_per_px, side, joint_offset_mm=offset)
        return KneePicture(pixels, *boxes, mm_per_px, full=True)


def patch_boxes(
    shape: tuple[int, ...], mm_per_px: float, side: str, *, joint_offset_mm: float = 0.0
) -> tuple[Box, Box]:
    """Where `patches.cut_patch_pair` cuts the medial and the lateral patch.

    Args:
        shape: [H, W] of the picture, not mirrored.
        mm_per_px: Size of its pixels.
        side: "L" or "R".
        joint_offset_mm: As given to `cut_patch_pair`.

    Returns:
        The medial and the lateral box, in px of that picture.
    """
    width, height, left, top = place_patches(shape, mm_per_px, joint_offset_mm)
    x, y = shape[1] / width, shape[0] / height

    def box(start: int) -> Box:
        start = width - PATCH_PX - start if side == "L" else start
        return Box(start * x, top * y, PATCH_PX * x, PATCH_PX * y)

    return box(width - left - PATCH_PX), box(left)


def side_by_side(pair: NDArray[np.uint8], side: str) -> KneePicture:
    """Both patches as they lie in the knee, with a gap between them.

    Args:
        pair: uint8 [2, H, H], medial then lateral, each with the joint's margin on its left.
        side: "L" (lateral on the right of the picture) or "R".
    """
    size = pair.shape[1]
    medial, lateral = pair[0][:, ::-1], pair[1]  # as in a right knee: lateral, gap, medial
    gap = np.zeros((size, _GAP_PX), np.uint8)
    picture = np.concatenate([lateral, gap, medial], axis=1)
    far = size + _GAP_PX
    boxes = Box(far, 0, size, size), Box(0, 0, size, size)
    if side == "L":
        picture, boxes = picture[:, ::-1], boxes[::-1]
    return KneePicture(np.ascontiguousarray(picture), *boxes, mm_per_px=PATCH_PX * MM_PER_PX / size, full=False)


def read_source(path: Path, bits: int = 8) -> NDArray[Any]:
    """Read a source picture, bone white: a DICOM radiograph at its clipped intensities, 8 bits of others as saved.

    Other pictures of 16 bits are scaled to the whole range.

    Args:
        path: The file.
        bits: Most bits per pixel, 8 or 16.

    Returns:
        uint8 or uint16 [H, W].
    """
    if path.suffix.lower() in DICOM_SUFFIXES:
        # Where the header has no pixel size none is needed: nothing is measured on this picture.
        return read_radiograph(path, ReadOptions(mm_per_px=1.0, bits=bits)).gray
    pixels: NDArray[Any] = read_gray(path)
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float32)
    low, high, top = values.min(), np.percentile(values, 99.9), 2**bits - 1
    scaled = np.clip((values - low) * (top / max(high - low, 1e-6)), 0, top)
    return np.asarray(np.rint(scaled).astype(np.uint8 if bits == 8 else np.uint16))


def to_png(pixels: NDArray[Any]) -> bytes:
    """A PNG that holds the pixels and nothing else.

    Browsers show 8 bits of a channel: of 16 bits, red holds the high byte and green the low one.
    """
    if pixels.dtype == np.uint16:
        pixels = np.dstack([pixels >> 8, pixels & 255, np.zeros_like(pixels)]).astype(np.uint8)
    return bytes(imagecodecs.png_encode(pixels))
