"""What is done with one radiograph: read it, find the knees, cut the patches, draw the thumbnail, keep the result."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from kneeal import __version__
from kneeal.files import atomic_file, check_writable
from kneeal.localizer.pose import KneePose, cut_patches, find_side, leaves_radiograph
from kneeal.localizer.quality import REJECTION_REASONS, Selection, SelectionRules, SideEvidence, select_knees
from kneeal.localizer.windows import reduce_whole
from kneeal.prepare.tasks import Correction, RadiographTask
from kneeal.radiograph import Radiograph, RadiographError, ReadOptions, read_radiograph

_THUMBNAIL_PX, _STRIP_PX = 240, 88
_GREEN, _RED, _YELLOW, _QUALITY = (80, 220, 80), (240, 60, 60), (255, 210, 0), 70
_REASONS = REJECTION_REASONS | {
    "by_hand": "rejected by hand",
    "not_marked": "the landmark file does not mark this knee",
    "side_unknown": "two knees were found, and the table does not say which of them its grade belongs to",
    "other_side": "the radiograph is of the other knee",
}


@dataclass(frozen=True)
class PrepareOptions:
    """How radiographs become knees."""

    read: ReadOptions = field(default_factory=ReadOptions)  #: How files are read.
    select: SelectionRules = field(default_factory=SelectionRules)  #: Which knees count.


@dataclass(frozen=True)
class RadiographResult:
    """What came of a radiograph."""

    poses: tuple[KneePose, ...]  #: Knees that are used.
    patches: NDArray[np.uint8]  #: uint8 [len(poses), 2, 128, 128].
    rejected: tuple[tuple[str, str, str], ...]  #: Side, reason code and sentence of what is rejected.
    #: JPEG of the whole radiograph with the boxes; empty where the radiograph could not be read, or where its header
    #: says that text is burned in.
    thumbnail: bytes = b""
    readable: bool = True  #: Whether there was a picture to look at.
    unused: tuple[KneePose, ...] = ()  #: Knees that were seen and not used; the side is empty where it is not known.
    single: bool = False  #: Whether the radiograph is of one knee.
    checksum: str = ""  #: Of a sixteenth of its pixels; empty where it could not be read.
    notes: tuple[str, ...] = ()  #: What was done otherwise than the header asks, and how a side was found.


def make_worker(options: PrepareOptions, needs_localizer: bool) -> Callable[[RadiographTask], RadiographResult]:
    """The function that a process calls with each radiograph."""
    localizer = None
    cv2.setNumThreads(1)
    if needs_localizer:
        import torch

        from kneeal.localizer.detect import Localizer

        # One radiograph in each process: more threads would only wait for each other.
        torch.set_num_threads(1)
        localizer = Localizer()

    def work(task: RadiographTask) -> RadiographResult:
        try:
            radiograph = read_radiograph(task.path, options.read)
        except RadiographError as error:
            return nothing(error.reason, f"{error.found} (expected: {error.expected}); {error.cure}")
        selection, notes = _find_side(radiograph, _select(task, radiograph))
        return _cut(task, radiograph, _correct(selection, task.corrections), (*radiograph.notes, *notes))

    def _select(task: RadiographTask, radiograph: Radiograph) -> Selection:
        if task.marked is not None:
            shape = (radiograph.gray.shape[0], radiograph.gray.shape[1])
            poses = tuple(knee.pose(shape, radiograph.mm_per_px) for knee in task.marked)
            marked = {pose.side for pose in poses}
            return Selection(poses, tuple((side, "not_marked") for side in "RL" if side not in marked), poses)
        if localizer is None:
            raise ValueError("a radiograph without poses needs the localizer.")
        evidence = SideEvidence(
            stated=(task.side, *radiograph.sides),
            flipped=radiograph.flipped,
            lateral=radiograph.lateral,
            width_mm=radiograph.gray.shape[1] * radiograph.mm_per_px[1],
        )
        return select_knees(localizer.find(radiograph.gray, radiograph.mm_per_px), options.select, evidence)

    return work


def _find_side(radiograph: Radiograph, selection: Selection) -> tuple[Selection, tuple[str, ...]]:
    """The selection with the side of its one knee found on the picture, where it is not known otherwise."""
    if not any(pose.side == "unknown" for pose in selection.poses):
        return selection, ()
    pose = selection.poses[0]
    side = find_side(cut_patches(radiograph.gray, radiograph.mm_per_px, replace(pose, side="R")))
    sided = (replace(pose, side=side),)
    note = "the side of the knee is not known: it was found on the picture, which is not always right"
    return replace(selection, poses=sided, seen=sided), (note,)


def _correct(selection: Selection, corrections: Mapping[str, Correction]) -> Selection:
    """What a person says goes before what the localizer says."""
    accepted = [side for side, correction in corrections.items() if not correction.reject]
    if selection.single and accepted and selection.seen and selection.seen[0].side not in corrections:
        # A person who writes the id of a knee says by it of which side the one on the radiograph is.
        selection = replace(selection, poses=(), seen=(replace(selection.seen[0], side=accepted[0]),))
    poses, seen = ({pose.side: pose for pose in part} for part in (selection.poses, selection.seen))
    rejected = list(selection.rejected)
    for side, correction in corrections.items():
        poses.pop(side, None)
        rejected = [(s, reason) for s, reason in rejected if s != side]
        center, pose = correction.center_mm, seen.get(side)
        if pose is None and center is not None:
            pose = KneePose(side, center, 0.0)
        if correction.reject or pose is None:
            rejected.append((side, "by_hand" if correction.reject else "no_knee"))
        else:
            angle = pose.angle_deg if correction.angle_deg is None else correction.angle_deg
            poses[side] = KneePose(side, center or pose.center_mm, angle)
    if rejected and poses:
        # The whole radiograph was rejected, but a person answered for one of its knees: the reason holds for the other.
        others = [] if selection.single else [s for s in "RL" if s not in poses and s not in dict(rejected)]
        rejected = [(other, reason) for side, reason in rejected for other in ([side] if side else others)]
    ordered = tuple(poses[side] for side in "RL" if side in poses)
    return replace(selection, poses=ordered, rejected=tuple(rejected))


def _cut(
    task: RadiographTask, radiograph: Radiograph, selection: Selection, notes: tuple[str, ...]
) -> RadiographResult:
    def asked(side: str) -> bool:
        return side in task.grades or ("" in task.grades and (selection.single or not side))

    rejected = [(side, reason, _REASONS[reason]) for side, reason in selection.rejected if not side or asked(side)]
    poses, patches, unused = [], [], []
    for pose in selection.poses:
        if not asked(pose.side):
            continue
        if leaves_radiograph(radiograph.gray.shape, radiograph.mm_per_px, pose):
            rejected.append((pose.side, "off_film", _REASONS["off_film"]))
            unused.append(pose)
            continue
        poses.append(pose)
        patches.append(cut_patches(radiograph.gray, radiograph.mm_per_px, pose))
    if selection.poses and not poses and not rejected:
        reason = "side_unknown" if "" in task.grades else "other_side"
        rejected.append(("", reason, _REASONS[reason]))
    answered = {pose.side for pose in poses} | {pose.side for pose in unused}
    # Knees that are not used are shown too: to correct the radiograph, a person must know where they were seen.
    unused += [pose for pose in selection.seen if pose.side not in answered and (not pose.side or asked(pose.side))]
    return RadiographResult(
        poses=tuple(poses),
        patches=np.array(patches, np.uint8).reshape(-1, 2, 128, 128),
        rejected=tuple(rejected),
        thumbnail=b"" if radiograph.burned_in else _thumbnail(radiograph, poses, unused),
        unused=tuple(unused),
        single=selection.single,
        # Every fourth pixel each way tells two radiographs apart, in a sixteenth of the time.
        checksum=hashlib.sha256(radiograph.gray[::4, ::4].tobytes()).hexdigest(),
        notes=notes,
    )


def nothing(reason: str, detail: str) -> RadiographResult:
    """What comes of a radiograph that could not be read."""
    return RadiographResult((), np.zeros((0, 2, 128, 128), np.uint8), (("", reason, detail),), readable=False)


def _thumbnail(radiograph: Radiograph, used: Sequence[KneePose], unused: Sequence[KneePose]) -> bytes:
    height, width = (n * mm for n, mm in zip(radiograph.gray.shape, radiograph.mm_per_px, strict=True))
    scale = _THUMBNAIL_PX / max(height, width)
    # Roughly first, by a whole factor, which is fast; what that cuts off is less than a pixel of the thumbnail.
    rough = reduce_whole(radiograph.gray, max(radiograph.gray.shape) // (3 * _THUMBNAIL_PX))
    small = cv2.resize(
        rough, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    picture = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    for pose, color in [*((pose, _GREEN) for pose in used), *((pose, _RED) for pose in unused)]:
        box = np.round(pose.corners_mm(110.0, 110.0) * scale * 16).astype(np.int32)
        cv2.polylines(picture, [box], True, color, 1, cv2.LINE_AA, 4)
        turn = np.deg2rad(pose.angle_deg)
        reach = 38 * np.array([np.cos(turn), np.sin(turn)])
        line = np.array([np.subtract(pose.center_mm, reach), np.add(pose.center_mm, reach)])
        cv2.polylines(picture, [np.round(line * scale * 16).astype(np.int32)], False, _YELLOW, 1, cv2.LINE_AA, 4)
    return bytes(imagecodecs.jpeg8_encode(picture, level=_QUALITY))


def patches_jpeg(pair: NDArray[np.uint8]) -> bytes:
    """A small JPEG of both patches of a knee, side by side."""
    small = [cv2.resize(patch, (_STRIP_PX, _STRIP_PX), interpolation=cv2.INTER_AREA) for patch in pair]
    return bytes(imagecodecs.jpeg8_encode(np.hstack(small), level=_QUALITY))


class ResultStore:
    """Results by key, each a file written whole or not at all.

    A key is a hash of everything that the result depends on: the file's name, size and time, the options, the checksum
    of the localizer's weights, the corrections. So a changed file or option is done again, and nothing else.
    """

    def __init__(self, folder: Path, options: PrepareOptions, weights: str) -> None:
        self.folder = folder
        self._common = json.dumps([__version__, weights, asdict(options)], sort_keys=True, default=str)
        check_writable(folder)

    def key(self, task: RadiographTask) -> str:
        """The key of a radiograph."""
        try:
            stat = task.path.stat()
            state = [stat.st_size, stat.st_mtime_ns]
        except OSError:
            state = [-1, -1]
        marked = None if task.marked is None else [asdict(knee) for knee in task.marked]
        corrections = {side: asdict(replace(value, where="")) for side, value in sorted(task.corrections.items())}
        sides = sorted(task.grades)
        text = json.dumps([self._common, task.name, task.side, state, marked, corrections, sides])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def get(self, key: str) -> RadiographResult | None:
        """The result; None where it is missing or damaged."""
        try:
            with np.load(self._path(key), allow_pickle=False) as data:
                meta = json.loads(bytes(data["meta"]))
                meta |= {name: tuple(map(_pose, meta[name])) for name in ("poses", "unused")}
                meta |= {"rejected": tuple(map(tuple, meta["rejected"])), "notes": tuple(meta["notes"])}
                return RadiographResult(
                    **meta, patches=np.asarray(data["patches"], np.uint8), thumbnail=bytes(data["thumbnail"])
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, result: RadiographResult) -> None:
        """Keep a result."""
        meta = asdict(result)
        patches, thumbnail = meta.pop("patches"), meta.pop("thumbnail")
        texts = {"meta": json.dumps(meta).encode(), "thumbnail": thumbnail}
        arrays: dict[str, Any] = {name: np.frombuffer(text, np.uint8) for name, text in texts.items()}
        with atomic_file(self._path(key)) as temporary, temporary.open("wb") as file:
            np.savez(file, patches=patches, **arrays)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"


def _pose(fields: dict[str, Any]) -> KneePose:
    return KneePose(**{**fields, "center_mm": tuple(fields["center_mm"])})
