"""Which knees of a radiograph are used, and why the others are rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kneeal.localizer.localization import Localization, LocalizedKnee, LocalizedMarker
from kneeal.localizer.pose import KneePose

#: How side markers count: `require` rejects a radiograph without one, `check` only one whose markers contradict,
#: `ignore` does not look at them.
MARKER_RULES = ("require", "check", "ignore")
_SURE = 0.5
_LETTER = 0.6
#: Two markers that agree, or one of this probability, make a radiograph swapped or mirrored.
_AGREE, _CERTAIN = 2, 0.9
#: How many times as much must speak for a proper radiograph as against it.
_MAJORITY = 1.5
#: Knees whose plateaus differ in height by more than this are no pair.
_LEVEL_MM = 120.0

#: What the codes in rejected.csv say.
REASONS = {
    "no_knee": "no knee was found",
    "one_knee": "one knee was found where two were expected",
    "too_many": "more than two places look like a knee",
    "replacement": "a knee replacement",
    "marker_missing": "no side marker could be read for sure",
    "marker_swapped": "a side marker lies beside the other knee",
    "marker_mirrored": "a side marker is mirrored: the radiograph is flipped",
    "low_score": "the localizer is not sure of the knee",
    "off_film": "the knee region leaves the radiograph",
}


@dataclass(frozen=True)
class Selection:
    """What becomes of a radiograph.

    Attributes:
        poses: The knees to use.
        rejected: Side ("L", "R", or "" for the whole radiograph) and reason code, for what is rejected.
        seen: Every place that was taken for a knee, used or not; the side is empty where there are not two.
    """

    poses: tuple[KneePose, ...]
    rejected: tuple[tuple[str, str], ...]
    seen: tuple[KneePose, ...] = ()


def select_knees(
    localization: Localization, *, markers: str = "require", min_score: float = 0.5, keep_other: bool = False
) -> Selection:
    """Decide which knees of a bilateral radiograph are used.

    On a radiograph as it is read, the patient's right knee is on the left.

    Args:
        localization: What the localizer saw.
        markers: One of `MARKER_RULES`.
        min_score: Knees below it are rejected.
        keep_other: Whether a radiograph with one unusable knee (replacement, low score) keeps its other knee; otherwise
            the whole radiograph is rejected.

    Returns:
        Poses and reasons; a radiograph without usable knees has a reason for each side or for the whole.
    """
    knees = [knee for knee in localization.knees if knee.nothing < _SURE]
    if len(knees) > 2:
        knees = _likeliest_pair(knees)
    sides = "RL" if len(knees) == 2 else [""] * len(knees)
    seen = tuple(KneePose(s, knee.center_mm, knee.angle_deg, knee.score) for s, knee in zip(sides, knees, strict=True))
    if len(knees) != 2:
        return Selection((), (("", {0: "no_knee", 1: "one_knee"}.get(len(knees), "too_many")),), seen)
    if markers != "ignore":
        reason = _contradiction(knees, localization.markers, required=markers == "require")
        if reason:
            return Selection((), (("", reason),), seen)
    poses, rejected = [], []
    for pose, knee in zip(seen, knees, strict=True):
        if knee.replaced >= _SURE:
            rejected.append((pose.side, "replacement"))
        elif knee.score < min_score:
            rejected.append((pose.side, "low_score"))
        else:
            poses.append(pose)
    if rejected and not keep_other:
        return Selection((), (("", rejected[0][1]),), seen)
    return Selection(tuple(poses), tuple(rejected), seen)


def _likeliest_pair(knees: Sequence[LocalizedKnee]) -> list[LocalizedKnee]:
    """Two of several places, if the others are clearly worse; else all of them."""
    ranked = sorted(knees, key=lambda knee: knee.score + knee.replaced, reverse=True)
    if ranked[2].score + ranked[2].replaced < 0.5 * (ranked[1].score + ranked[1].replaced):
        return sorted(ranked[:2], key=lambda knee: knee.center_mm)
    return list(knees)


def _contradiction(knees: Sequence[LocalizedKnee], markers: Sequence[LocalizedMarker], *, required: bool) -> str:
    """Why the markers speak against the radiograph, empty where they do not.

    The markers vote, each with its probability: for a radiograph as it should be, for swapped sides, for a mirrored
    radiograph. A radiograph is swapped or mirrored only where nothing read speaks for another answer, and two markers
    agree or the one is nearly certain: any other text on the radiograph may look like a letter. It is proper where
    that has a clear majority. Everything else counts as not read.
    """
    between = (knees[0].center_mm[0] + knees[1].center_mm[0]) / 2
    votes: dict[str, list[float]] = {"": [], "marker_swapped": [], "marker_mirrored": []}
    for marker in markers:
        if marker.probability >= _LETTER:
            proper = (marker.letter == "R") == (marker.center_mm[0] < between)
            answer = "marker_mirrored" if marker.letter == "mirrored" else "" if proper else "marker_swapped"
            votes[answer].append(marker.probability)
    doubts = sum(votes["marker_swapped"]) + sum(votes["marker_mirrored"])
    if votes[""] and sum(votes[""]) >= _MAJORITY * doubts:
        return ""
    for answer in ("marker_swapped", "marker_mirrored"):
        # Alone: what was read for any other answer makes it unsure.
        if sum(map(len, votes.values())) == len(votes[answer]) and (
            len(votes[answer]) >= _AGREE or max(votes[answer], default=0.0) >= _CERTAIN
        ):
            return answer
    return "marker_missing" if required else ""
