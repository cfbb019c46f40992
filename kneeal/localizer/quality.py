"""What the localizer says of a radiograph; which of its knees are used, and why the others are rejected."""

from collections.abc import Sequence
from dataclasses import dataclass

from kneeal.errors import UserError
from kneeal.localizer.pose import KneePose

#: How side markers count: `require` rejects a radiograph without one, `check` only one whose markers contradict,
#: `ignore` does not look at them.
MARKER_RULES = ("require", "check", "ignore")
#: From the first probability on a place is no knee; from the second on a knee has metal in it.
_NOTHING, _METAL = 0.5, 0.7
#: A letter below the first probability is not read; below the second it is not read where it lies on the knee itself.
_LETTER, _LETTER_ON_BONE = 0.8, 0.95
_BONE_MM = (48.0, 60.0)
#: Two markers that agree, or one of this probability, outweigh nothing read.
_CERTAIN = 0.9
#: How many times as much must speak for an answer as against it.
_MAJORITY = 1.5
#: Plateaus of a pair: distance across the radiograph in mm, difference in height in mm and as a share of it, in angle.
_APART_MM, _UNEVEN_MM, _UNEVEN_SHARE, _ANGLE_DEG = (80.0, 360.0), 70.0, 0.5, 30.0
#: A knee further than this from the middle of a radiograph that is wider than this may be one of two.
_OFF_CENTER_MM, _BILATERAL_MM = 50.0, 280.0

#: What the codes in rejected.csv mean.
REJECTION_REASONS = {
    "no_knee": "no knee was found",
    "one_knee": "one knee was found, and its side is not known",
    "one_of_two": "one knee was found on a radiograph that may show both: it is wide, or its header says so",
    "too_many": "more than two places look like a knee",
    "no_pair": "the two places that look like knees are too near, too far, at different heights or angles",
    "view": "the header says that it is a lateral view",
    "side_conflict": "table, header and marker contradict each other on the side of this knee",
    "replacement": "a knee replacement, or other metal in the knee",
    "marker_missing": "no side marker could be read for sure",
    "marker_swapped": "a side marker lies beside the other knee",
    "marker_mirrored": "the radiograph is flipped: a side marker is mirrored, or the header says so",
    "low_score": "the localizer is not sure of the knee",
    "other_knee": "the other knee of this radiograph cannot be used",
    "off_film": "the knee region leaves the radiograph",
}


@dataclass(frozen=True)
class LocalizedKnee:
    """What the networks say about one place on the radiograph."""

    center_mm: tuple[float, float]  #: Center of the tibial plateau, (x, y) mm from the radiograph's upper left corner.
    angle_deg: float  #: Angle of the plateau; positive where it descends to the right of the radiograph.
    #: 0 to 1: the probability of a natural knee, lowered by the disagreement of three looks at it (as it lies, turned
    #: level, turned level and mirrored).
    score: float
    replaced: float  #: Probability of a knee replacement; 1 where metal is seen.
    nothing: float  #: Probability that there is no knee.


@dataclass(frozen=True)
class LocalizedMarker:
    """A side marker."""

    letter: str  #: "R", "L", or "mirrored".
    center_mm: tuple[float, float]  #: Where it is.
    probability: float  #: That of the letter.


@dataclass(frozen=True)
class Localization:
    """What is on a radiograph: knees and side markers, from left to right."""

    knees: tuple[LocalizedKnee, ...]
    markers: tuple[LocalizedMarker, ...]


@dataclass(frozen=True)
class SelectionRules:
    """Which knees count."""

    markers: str = "check"  #: One of `MARKER_RULES`.
    #: Knees below it are rejected; one that is alone, so that no second one confirms it, where it lacks more than half
    #: as much to 1.
    min_score: float = 0.7
    #: Whether a radiograph with one unusable knee (replacement, low score) keeps its other knee; otherwise the whole
    #: radiograph is rejected, the good knee as `other_knee`.
    keep_other: bool = False
    #: Side of a knee that is alone and of which nothing else says it: "R", "L", "unknown" (it is found on the picture
    #: later) or empty.
    side: str = ""


@dataclass(frozen=True)
class SideEvidence:
    """What is known of the sides of a radiograph beside its pixels."""

    #: Sides that a table and the header give for the one knee on it: "R", "L", "B" (both) or empty.
    stated: Sequence[str] = ()
    flipped: bool = False  #: Whether the header says that the picture is flipped.
    lateral: bool = False  #: Whether the header says that it is a lateral view.
    width_mm: float = 0.0  #: Width of the radiograph.


@dataclass(frozen=True)
class Selection:
    """What becomes of a radiograph."""

    #: The knees to use; the side of a single one is "unknown" where it is to be found on the picture.
    poses: tuple[KneePose, ...]
    rejected: tuple[tuple[str, str], ...]  #: Side ("L", "R", or "" for the whole radiograph) and reason code.
    #: Every place that was taken for a knee, used or not; the side is empty where it is not known.
    seen: tuple[KneePose, ...] = ()
    single: bool = False  #: Whether the radiograph is of one knee.


def marker_rule(text: str) -> str:
    """The rule that `--markers` gives: one of `MARKER_RULES`, or two letters that stand for right and left, D/E.

    Only R and L can be read. With other letters, nothing that looks like an R or L counts: the rule is `ignore`.
    """
    text = text.strip()
    if text.lower() in MARKER_RULES:
        return text.lower()
    letters = [part.strip().upper() for part in text.split("/")]
    if len(letters) != 2 or not all(part.isalpha() for part in letters) or letters[0] == letters[1]:
        raise UserError(
            f"--markers {text}", f"{', '.join(MARKER_RULES)}, or two letters such as D/E", "choose one of them"
        )
    return "check" if set(letters) == {"R", "L"} else "ignore"


def select_knees(
    localization: Localization, rules: SelectionRules | None = None, evidence: SideEvidence | None = None
) -> Selection:
    """Decide which knees of a radiograph are used.

    On a radiograph as it is read, the patient's right knee is on the left. A radiograph without usable knees has a
    reason for each side or for the whole.
    """
    rules, evidence = rules or SelectionRules(), evidence or SideEvidence()
    if evidence.lateral:
        return Selection((), (("", "view"),))
    knees = [knee for knee in localization.knees if knee.nothing < _NOTHING]
    if len(knees) > 2:
        knees = _likeliest_pair(knees, rules.min_score)
    if len(knees) == 1:
        return _single(knees[0], localization.markers, rules, evidence)
    sides = "RL" if len(knees) == 2 else [""] * len(knees)
    seen = tuple(_pose(side, knee) for side, knee in zip(sides, knees, strict=True))
    if len(knees) != 2:
        return Selection((), (("", "too_many" if knees else "no_knee"),), seen)
    reason = "" if _is_pair(knees[0], knees[1]) else "no_pair"
    if not reason:
        between = (knees[0].center_mm[0] + knees[1].center_mm[0]) / 2
        reason = _contradiction(_letters(knees, localization.markers, rules), between, rules, evidence.flipped)
    if reason:
        return Selection((), (("", reason),), seen)
    poses, rejected = [], []
    for pose, knee in zip(seen, knees, strict=True):
        fault = _fault(knee, rules.min_score)
        if fault:
            rejected.append((pose.side, fault))
        else:
            poses.append(pose)
    if rejected and not rules.keep_other:
        rejected += [(pose.side, "other_knee") for pose in poses]
        poses = []
    return Selection(tuple(poses), tuple(rejected), seen)


def _pose(side: str, knee: LocalizedKnee) -> KneePose:
    return KneePose(side, knee.center_mm, knee.angle_deg, knee.score)


def _fault(knee: LocalizedKnee, min_score: float) -> str:
    return "replacement" if knee.replaced >= _METAL else "low_score" if knee.score < min_score else ""


def _likeliest_pair(knees: Sequence[LocalizedKnee], min_score: float) -> list[LocalizedKnee]:
    """Two of several places, if they alone are good or the others are clearly worse; else all of them."""
    # On whole legs, hips look a little like knees.
    good = [knee for knee in knees if knee.score >= min_score]
    if len(good) == 2:
        return good
    ranked = sorted(knees, key=lambda knee: knee.score + knee.replaced, reverse=True)
    if ranked[2].score + ranked[2].replaced < 0.5 * (ranked[1].score + ranked[1].replaced):
        return sorted(ranked[:2], key=lambda knee: knee.center_mm)
    return list(knees)


def _is_pair(left: LocalizedKnee, right: LocalizedKnee) -> bool:
    apart = right.center_mm[0] - left.center_mm[0]
    height = abs(right.center_mm[1] - left.center_mm[1])
    return (
        _APART_MM[0] <= apart <= _APART_MM[1]
        and height <= min(_UNEVEN_MM, _UNEVEN_SHARE * apart)
        and abs(right.angle_deg - left.angle_deg) <= _ANGLE_DEG
    )


def _letters(
    knees: Sequence[LocalizedKnee], markers: Sequence[LocalizedMarker], rules: SelectionRules
) -> list[LocalizedMarker]:
    """The markers that count: none that is doubtful, least of all on bone, where anything may look like a letter."""
    if rules.markers == "ignore":
        return []

    def on_bone(marker: LocalizedMarker) -> bool:
        return any(
            all(abs(a - b) < reach for a, b, reach in zip(marker.center_mm, knee.center_mm, _BONE_MM, strict=True))
            for knee in knees
        )

    return [m for m in markers if m.probability >= (_LETTER_ON_BONE if on_bone(m) else _LETTER)]


def _contradiction(letters: Sequence[LocalizedMarker], between: float, rules: SelectionRules, flipped: bool) -> str:
    """Why the sides of a pair are in doubt, empty where they are not.

    The markers vote, each with its probability: for a radiograph as it should be, for swapped sides, for a mirrored
    one; a header that says that it is flipped votes for the latter. A doubt that outweighs the rest rejects the
    radiograph whatever the rule; what is undecided counts as not read.
    """
    votes: dict[str, list[float]] = {"": [], "marker_swapped": [], "marker_mirrored": [1.0] if flipped else []}
    for marker in letters:
        proper = (marker.letter == "R") == (marker.center_mm[0] < between)
        answer = "marker_mirrored" if marker.letter == "mirrored" else "" if proper else "marker_swapped"
        votes[answer].append(marker.probability)
    total = sum(map(sum, votes.values()))
    doubt = max(("marker_swapped", "marker_mirrored"), key=lambda answer: sum(votes[answer]))
    if votes[""] and sum(votes[""]) >= _MAJORITY * (total - sum(votes[""])):
        return ""
    weighty = len(votes[doubt]) > 1 or max(votes[doubt], default=0.0) >= _CERTAIN
    if weighty and sum(votes[doubt]) >= _MAJORITY * (total - sum(votes[doubt])):
        return doubt
    return "marker_missing" if rules.markers == "require" else ""


def _single(
    knee: LocalizedKnee, markers: Sequence[LocalizedMarker], rules: SelectionRules, evidence: SideEvidence
) -> Selection:
    """A radiograph on which one knee was found: used where its side is stated or shown by a marker."""
    off_center = knee.center_mm[0] - evidence.width_mm / 2
    one_of_two = evidence.width_mm > _BILATERAL_MM and abs(off_center) > _OFF_CENTER_MM
    place = "R" if off_center < 0 else "L"
    stated = {side for side in evidence.stated if side in ("R", "L")}
    letters = {m.letter for m in _letters([knee], markers, rules) if m.probability >= _CERTAIN}
    if one_of_two and not stated:
        # Its own marker, or that of a second knee that was not found? Only the side on which it lies can tell.
        letters &= {place, "mirrored"}
    sides = stated | letters
    if "mirrored" in letters or (evidence.flipped and not letters):
        reason = "marker_mirrored"
    elif len(stated) > 1 or (stated and letters and len(sides) > 1):
        reason = "side_conflict"
    elif (one_of_two and sides != {place}) or ("B" in evidence.stated and not sides):
        reason = "one_of_two"
    elif not sides and not rules.side:
        reason = "one_knee"
    else:
        reason = _fault(knee, (1 + rules.min_score) / 2)
        if not reason and rules.markers == "require" and not letters and not stated:
            reason = "marker_missing"
    side = sides.pop() if len(sides) == 1 else rules.side
    pose = _pose(side, knee)
    if reason:
        return Selection((), (("", reason),), (_pose(side if side != "unknown" else "", knee),), single=True)
    return Selection((pose,), (), (pose,), single=True)
