"""The pictures of a data set's knees for a person: from the source files with both patches marked, else the patches.

Nothing here decides what the network sees; it says where on the source picture that lies.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kneeal.data.prepared import PreparedDataset
from kneeal.errors import UserError
from kneeal.exchange.knee_picture import KneePicture, patch_boxes, read_picture, side_by_side
from kneeal.files import check_folder
from kneeal.localizer.pose import KneePose, cut_region
from kneeal.prepare.pictures import JOINT_OFFSET_MM, ROI_MM
from kneeal.radiograph import ReadOptions, read_radiograph
from kneeal.tables import finite

#: Columns of the manifest that say where on its radiograph a knee is; `kneeal.prepare` writes them.
POSE_COLUMNS = ("x_mm", "y_mm", "angle_deg")


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
        self._dataset = dataset
        self._images = images
        self._bits = bits
        frame = dataset.manifest.frame
        self._paths = dict(zip(dataset.manifest.ids, frame["path"], strict=True))
        self._sides = dict(zip(dataset.manifest.ids, frame["side"], strict=True))
        self._options: Mapping[str, Any] = dataset.info.get("options", {})

    @property
    def from_sources(self) -> bool:
        """Whether it has a folder of source pictures."""
        return self._images is not None

    def side(self, knee_id: str) -> str:
        """L or R."""
        return str(self._sides[knee_id])

    def source(self, knee_id: str) -> Path | None:
        """The source file of a knee, None where it is missing; never a file outside the folder.

        Raises:
            OSError: The folder cannot be read, or is empty as where a share is not mounted.
        """
        if self._images is None or not self._paths[knee_id]:
            return None
        try:
            root = self._images.resolve()
            path = (root / self._paths[knee_id]).resolve()
        except RuntimeError as error:  # what Python before 3.13 says of links that lead in a circle
            raise OSError("links in a circle") from error
        if not any(root.iterdir()):
            raise OSError("the folder of pictures is empty")
        try:
            there = stat.S_ISREG(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            there = False
        return path if there and path.is_relative_to(root) else None

    def __getitem__(self, knee_id: str) -> KneePicture:
        """The picture of a knee; its patches where there is no source picture, or a damaged one.

        Raises:
            OSError: The source picture cannot be read at the moment.
        """
        path = self.source(knee_id)
        if path is not None:
            with path.open("rb"):
                pass  # what the system refuses is not damaged
            try:
                return self._from_source(knee_id, path)
            except UserError:
                pass  # the patches were cut from it once: they are what is left of it
        pair = self._dataset.patches[self._dataset.row[knee_id]]
        return side_by_side(np.asarray(pair), self.side(knee_id))

    def _from_source(self, knee_id: str, path: Path) -> KneePicture:
        pose = self._pose(knee_id)
        if pose is not None:
            return self._from_radiograph(path, pose)
        pixels = read_picture(path, self._bits)
        if self._dataset.info.get("source") != "folder":
            return KneePicture(pixels, None, None, None, full=True)
        mm_per_px = float(self._options.get("mm_per_px") or self._options.get("roi_mm", ROI_MM) / pixels.shape[1])
        offset = float(self._options.get("joint_offset_mm", JOINT_OFFSET_MM))
        boxes = patch_boxes(pixels.shape, mm_per_px, self.side(knee_id), joint_offset_mm=offset)
        return KneePicture(pixels, *boxes, mm_per_px, full=True)

    def _pose(self, knee_id: str) -> KneePose | None:
        row = self._dataset.manifest.frame.iloc[self._dataset.row[knee_id]]
        x, y, angle = (finite(row.get(column)) for column in POSE_COLUMNS)
        return None if x is None or y is None or angle is None else KneePose(self.side(knee_id), (x, y), angle)

    def _from_radiograph(self, path: Path, pose: KneePose) -> KneePicture:
        """The region that the patches were cut from: read as it was then, at the radiograph's resolution."""
        apply_voi = bool(self._options.get("apply_voi", True))
        options = ReadOptions(
            self._options.get("mm_per_px"), self._options.get("magnification"), apply_voi, bits=self._bits
        )
        radiograph = read_radiograph(path, options)
        region, mm_per_px = cut_region(radiograph.gray, radiograph.mm_per_px, pose)
        return KneePicture(region, *patch_boxes(region.shape, mm_per_px, pose.side), mm_per_px, full=True)
