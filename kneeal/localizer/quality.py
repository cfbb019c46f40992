"""Which knees of a film are used, and why the others are set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kneeal.localizer.findings import Findings, FoundKnee, FoundMarker
from kneeal.localizer.pose import KneePose

#: How side markers count: `require` sets aside a film without one, `check` only one whose markers contradict,
#: `ignore` does not look at them.
MARKER_RULES = ("require", "check", "ignore")
_SURE = 0.5
_LETTER = 0.6
#: Two markers that agree, or one of this probability, make a film swapped or mirrored.
_AGREE, _CERTAIN = 2, 0.9
#: How many times as much must speak for a proper film as against it.
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
    "marker_mirrored": "a side marker is mirrored: the film is flipped",
    "low_score": "the finder is not sure of the knee",
    "off_film": "the knee region leaves the film",
}


@dataclass(frozen=True)
class Verdict:
    """What becomes of a film.

    Attributes:
        poses: The knees to use.
        refused: Side ("L", "R", or "" for the whole film) and reason code, for what is set aside.
        seen: Every place that was taken for a knee, used or not; the side is empty where there are not two.
    """

    poses: tuple[KneePose, ...]
    refused: tuple[tuple[str, str], ...]
    seen: tuple[KneePose, ...] = ()


def judge(
    findings: Findings, *, markers: str = "require", least_score: float = 0.5, keep_other: bool = False
) -> Verdict:
    """Decide which knees of a bilateral film are used.

    On a film as it is read, the patient's right knee is on the left.

    Args:
        findings: What the finder saw.
        markers: One of `MARKER_RULES`.
        least_score: Knees below it are set aside.
        keep_other: Whether a film with one unusable knee (replacement, low score) keeps its other knee; otherwise
            the whole film is set aside.

    Returns:
        Poses and reasons; a film without usable knees has a reason for each side or for the whole.
    """
    knees = [knee for knee in findings.knees if knee.nothing < _SURE]
    if len(knees) > 2:
        knees = _likeliest_pair(knees)
    sides = "RL" if len(knees) == 2 else [""] * len(knees)
    seen = tuple(KneePose(s, knee.middle_mm, knee.angle_deg, knee.score) for s, knee in zip(sides, knees, strict=True))
    if len(knees) != 2:
        return Verdict((), (("", {0: "no_knee", 1: "one_knee"}.get(len(knees), "too_many")),), seen)
    if markers != "ignore":
        reason = _contradiction(knees, findings.markers, required=markers == "require")
        if reason:
            return Verdict((), (("", reason),), seen)
    poses, refused = [], []
    for pose, knee in zip(seen, knees, strict=True):
        if knee.replaced >= _SURE:
            refused.append((pose.side, "replacement"))
        elif knee.score < least_score:
            refused.append((pose.side, "low_score"))
        else:
            poses.append(pose)
    if refused and not keep_other:
        return Verdict((), (("", refused[0][1]),), seen)
    return Verdict(tuple(poses), tuple(refused), seen)


def _likeliest_pair(knees: Sequence[FoundKnee]) -> list[FoundKnee]:
    """Two of several places, if the others are clearly worse; else all of them."""
    ranked = sorted(knees, key=lambda knee: knee.score + knee.replaced, reverse=True)
    if ranked[2].score + ranked[2].replaced < 0.5 * (ranked[1].score + ranked[1].replaced):
        return sorted(ranked[:2], key=lambda knee: knee.middle_mm)
    return list(knees)


def _contradiction(knees: Sequence[FoundKnee], markers: Sequence[FoundMarker], *, required: bool) -> str:
    """Why the markers speak against the film, empty where they do not.

    The markers vote, each with its probability: for a film as it should be, for swapped sides, for a mirrored film.
    A film is swapped or mirrored only where nothing read speaks for another answer, and two markers agree or the one
    is nearly certain: any other text on the film may look like a letter. It is proper where that has a clear majority.
    Everything else counts as not read.
    """
    between = (knees[0].middle_mm[0] + knees[1].middle_mm[0]) / 2
    votes: dict[str, list[float]] = {"": [], "marker_swapped": [], "marker_mirrored": []}
    for marker in markers:
        if marker.probability >= _LETTER:
            proper = (marker.letter == "R") == (marker.middle_mm[0] < between)
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
