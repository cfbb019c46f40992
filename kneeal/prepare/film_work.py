"""What is done with one film: read it, find the knees, cut the patches, draw the thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.localizer.pose import KneePose, cut_patches, leaves_film
from kneeal.localizer.quality import REASONS, Verdict, judge
from kneeal.localizer.windows import reduce_whole
from kneeal.prepare.corrections import Correction
from kneeal.prepare.tasks import FilmTask
from kneeal.radiograph import Radiograph, RadiographError, ReadOptions, read_radiograph

_THUMBNAIL_PX, _STRIP_PX = 240, 88
_GREEN, _RED = (80, 220, 80), (60, 60, 240)
_WORDS = REASONS | {"by_hand": "rejected by hand", "not_marked": "the landmark file does not mark this knee"}


@dataclass(frozen=True)
class PrepareOptions:
    """How films become knees.

    Attributes:
        read: How files are read.
        markers: How side markers count; see ``kneeal.localizer.quality.MARKER_RULES``.
        least_score: Knees below it are set aside.
        keep_other: Whether the other knee of a film with one unusable knee is kept.
        weights: Other weights for the finder.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    markers: str = "require"
    least_score: float = 0.5
    keep_other: bool = False
    weights: Path | None = None


@dataclass(frozen=True)
class FilmResult:
    """What came of a film.

    Attributes:
        poses: Knees that are used.
        patches: uint8 [len(poses), 2, 128, 128].
        refused: Side, reason code and sentence of what is set aside.
        thumbnail: JPEG of the whole film with the boxes; empty where the film could not be read, or where its header
            says that text is burned in.
        strips: JPEG of the patches of each pose.
        readable: Whether there was a picture to look at.
        unused: Knees that were seen and not used; the side is empty where it is not known.
    """

    poses: tuple[KneePose, ...]
    patches: NDArray[np.uint8]
    refused: tuple[tuple[str, str, str], ...]
    thumbnail: bytes = b""
    strips: tuple[bytes, ...] = ()
    readable: bool = True
    unused: tuple[KneePose, ...] = ()


@dataclass(frozen=True)
class Work:
    """A film and what a person says about its knees, by side."""

    task: FilmTask
    corrections: dict[str, Correction] = field(default_factory=dict)


def make_worker(options: PrepareOptions, needs_finder: bool) -> Callable[[Work], FilmResult]:
    """The function that a process calls with each film."""
    finder = None
    cv2.setNumThreads(1)
    if needs_finder:
        import torch

        from kneeal.localizer.detect import Finder

        # One film in each process: more threads would only wait for each other.
        torch.set_num_threads(1)
        finder = Finder(options.weights)

    def work(item: Work) -> FilmResult:
        try:
            film = read_radiograph(item.task.path, options.read)
        except RadiographError as error:
            return nothing(error.reason, f"{error.found} (expected: {error.expected}); {error.cure}")
        verdict = _verdict(item, film)
        return _cut(item.task, film, verdict)

    def _verdict(item: Work, film: Radiograph) -> Verdict:
        if item.task.marked is not None:
            shape = (film.grey.shape[0], film.grey.shape[1])
            poses = tuple(knee.pose(shape, film.mm_per_px) for knee in item.task.marked)
            marked = {pose.side for pose in poses}
            verdict = Verdict(poses, tuple((side, "not_marked") for side in "RL" if side not in marked), poses)
        elif finder is None:
            raise ValueError("a film without poses needs the finder.")
        else:
            verdict = judge(
                finder.find(film.grey, film.mm_per_px),
                markers=options.markers, least_score=options.least_score, keep_other=options.keep_other,
            )  # fmt: skip
        return _correct(verdict, item.corrections)

    return work


def _correct(verdict: Verdict, corrections: dict[str, Correction]) -> Verdict:
    """What a person says goes before what the finder says."""
    poses, seen = ({pose.side: pose for pose in part} for part in (verdict.poses, verdict.seen))
    refused = list(verdict.refused)
    for side, correction in corrections.items():
        poses.pop(side, None)
        refused = [(s, reason) for s, reason in refused if s != side]
        pose = seen.get(side)
        if correction.reject:
            refused.append((side, "by_hand"))
        elif correction.middle_mm is not None:
            angle = correction.angle_deg if correction.angle_deg is not None else pose.angle_deg if pose else 0.0
            poses[side] = KneePose(side, correction.middle_mm, angle)
        elif pose is not None:
            angle = correction.angle_deg if correction.angle_deg is not None else pose.angle_deg
            poses[side] = replace(pose, angle_deg=angle, score=1.0)
        else:
            refused.append((side, "no_knee"))
    if refused and poses:
        # The whole film was set aside, but a person answered for one of its knees: the reason holds for the other.
        refused = [
            (other, reason)
            for side, reason in refused
            for other in ([side] if side else [s for s in "RL" if s not in poses and s not in dict(refused)])
        ]
    ordered = tuple(poses[side] for side in "RL" if side in poses)
    return Verdict(ordered, tuple(refused), verdict.seen)


def _cut(task: FilmTask, film: Radiograph, verdict: Verdict) -> FilmResult:
    refused = [
        (side, reason, _WORDS[reason]) for side, reason in verdict.refused if side == "" or side in task.grades
    ]  # fmt: skip
    poses, patches, unused = [], [], []
    for pose in verdict.poses:
        if pose.side not in task.grades:
            continue
        if leaves_film(film.grey.shape, film.mm_per_px, pose):
            refused.append((pose.side, "off_film", _WORDS["off_film"]))
            unused.append(pose)
            continue
        poses.append(pose)
        patches.append(cut_patches(film.grey, film.mm_per_px, pose))
    answered = {pose.side for pose in verdict.poses}
    # What was seen and not used is shown as well: whoever corrects the film must know where that was.
    unused += [pose for pose in verdict.seen if pose.side not in answered and pose.side in ("", *task.grades)]
    return FilmResult(
        poses=tuple(poses),
        patches=np.array(patches, np.uint8).reshape(-1, 2, 128, 128),
        refused=tuple(refused),
        thumbnail=b"" if film.burned_in else _thumbnail(film, poses, unused),
        strips=tuple(_jpeg(np.hstack([_small(patch) for patch in pair])) for pair in patches),
        unused=tuple(unused),
    )


def nothing(reason: str, detail: str) -> FilmResult:
    """What comes of a film that could not be read."""
    return FilmResult((), np.zeros((0, 2, 128, 128), np.uint8), (("", reason, detail),), readable=False)


def _thumbnail(film: Radiograph, used: Sequence[KneePose], unused: Sequence[KneePose]) -> bytes:
    height, width = (n * mm for n, mm in zip(film.grey.shape, film.mm_per_px, strict=True))
    scale = _THUMBNAIL_PX / max(height, width)
    # Roughly first, by a whole factor, which is fast; what that cuts off is less than a pixel of the thumbnail.
    rough = reduce_whole(film.grey, max(film.grey.shape) // (3 * _THUMBNAIL_PX))
    small = cv2.resize(
        rough, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    picture = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    for pose, colour in [*((pose, _GREEN) for pose in used), *((pose, _RED) for pose in unused)]:
        box = np.round(pose.corners_mm(110.0, 110.0) * scale * 16).astype(np.int32)
        cv2.polylines(picture, [box], True, colour, 1, cv2.LINE_AA, 4)
        turn = np.deg2rad(pose.angle_deg)
        reach = 38 * np.array([np.cos(turn), np.sin(turn)])
        line = np.array([np.subtract(pose.middle_mm, reach), np.add(pose.middle_mm, reach)])
        cv2.polylines(picture, [np.round(line * scale * 16).astype(np.int32)], False, (0, 210, 255), 1, cv2.LINE_AA, 4)
    return _jpeg(np.asarray(picture, np.uint8))


def _small(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(patch, (_STRIP_PX, _STRIP_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])
    return data.tobytes()
