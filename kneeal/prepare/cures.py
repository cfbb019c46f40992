"""What would help where no knee could be used."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kneeal.errors import UserError
from kneeal.prepare.summary import ArchiveSummary
from kneeal.prepare.tasks import Rejection
from kneeal.prepare.work import PrepareOptions
from kneeal.tables import some


def nothing_usable(
    summary: ArchiveSummary, rejections: Sequence[Rejection], options: PrepareOptions, *, out: Path, kept: Path
) -> UserError:
    """The error for a preparation without a single knee; options that were given are not proposed again."""
    reasons = Counter(rejection.reason for rejection in rejections)
    named = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common()) or "no radiograph"
    details = some((f"{r.name or r.patient}: {r.detail}" for r in rejections), 3)
    cures = [cure for reason, cure in _cures(options) if reason in reasons]
    shown = {"one_knee", "too_many", "no_pair", "replacement", "low_score", "marker_missing", "marker_swapped",
             "marker_mirrored", "side_conflict"}  # fmt: skip
    if shown & set(reasons):
        cures.append(f"correct or accept knees with --corrections, by their ids on {out / 'sheet.html'}")
    return UserError(
        f"no knee could be used of {summary.n_radiographs} radiographs ({named}); {details}",
        "at least one knee",
        "; ".join(cures or [f"see the reasons in {out / 'rejected.csv'}"])
        + f". All reasons are in {out}; finished radiographs are kept in {kept} for the next start",
    )


def _cures(options: PrepareOptions) -> list[tuple[str, str]]:
    """Reasons with what helps, without options that were given already."""
    rules = options.select
    cures = [
        ("no_grade", True, "--ungraded keeps knees without a grade"),
        (
            "no_patient",
            True,
            "a --table with columns path and patient names the patients of files without a header",
        ),
        ("side_unknown", True, "a column side, or the columns KL_R and KL_L, say of which knee a grade is"),
        ("codec", True, "see which decoder or conversion is named"),
        ("marker_missing", rules.markers == "require", "--markers check accepts radiographs without side markers"),
        ("marker_swapped", rules.markers != "ignore", "--markers ignore does not read side markers"),
        ("spacing", options.read.mm_per_px is None, "--mm-per-px gives the pixel size of files without one"),
        ("one_knee", not rules.side, "--side R, L or unknown gives the side of radiographs of one knee"),
        ("low_score", rules.min_score > 0, f"--least-score below {rules.min_score:g} accepts knees that are less sure"),
        ("replacement", not rules.keep_other, "--keep-other keeps the good knee beside one that cannot be used"),
    ]
    return [(reason, cure) for reason, helps, cure in cures if helps]
