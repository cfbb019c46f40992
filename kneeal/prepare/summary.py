"""What was prepared, as tables for the console, for OAI beside the paper's Table 1; what helps where nothing was."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError, count, some
from kneeal.prepare.paths import PICTURE_SUFFIXES
from kneeal.prepare.tasks import Rejection
from kneeal.prepare.work import PrepareOptions

#: Knees in the paper's Table 1, as far as this package knows it (see `kneeal.data.synthetic.cohort`): by group of
#: sites, never by grade. Of the sites A, C and D it knows only what is left for the three together.
PAPER_KNEES: Mapping[str, int] = {"B": 1882, "E": 903, "A, C, D": 8050 - 1882, "A to D": 8050, "all": 8953}
_PAPER_NOTE = (
    "paper: knees in its Table 1, as far as this package knows it: the sites B and E, A to D together, and all. Not\n"
    "compared: the sites A, C and D one by one, and each grade. Of the paper's own disagreements, B is the sum of its\n"
    "grades (1882; its total says 1883), and E is the table's (903; the text says 953)."
)

#: Reasons for which a person may want to look at the contact sheet, or to use pictures in another way.
_SEEN = {"one_knee", "one_of_two", "too_many", "no_pair", "replacement", "low_score", "marker_missing",
         "marker_swapped", "marker_mirrored", "side_conflict"}  # fmt: skip
_CUT_OUT = {"no_patient", "spacing", "no_knee", "one_knee", "one_of_two", "low_score", "off_film"}


@dataclass(frozen=True)
class ArchiveSummary:
    """Counts and decisions."""

    source: str  #: Name of the source.
    counts: Mapping[tuple[str, int | None], int]  #: Knees by (site, grade); grade None where it is not known.
    rejected: Mapping[str, int]  #: Number of radiographs or knees rejected by reason.
    n_radiographs: int  #: Radiographs that were looked at.
    notes: Sequence[str] = ()  #: Decisions that the user should know.

    def __str__(self) -> str:
        """Sites by grades, then what was rejected, then the notes."""
        paper = self.source == "oai"
        sites = sorted({site for site, _ in self.counts} | (set("ABCDE") if paper else set()))
        groups = {site or "(none)": [site] for site in sites}
        if paper:
            groups |= {"A, C, D": list("ACD"), "A to D": list("ABCD")}
        groups["all"] = sites
        lines = grade_table("site", groups, self.counts)
        if paper:
            lines[0] += f"{'paper':>8}{'diff.':>8}"
            for row, (name, members) in enumerate(groups.items(), 1):
                total = sum(n for (site, _), n in self.counts.items() if site in members)
                known = PAPER_KNEES.get(name)
                lines[row] += f"{'-':>8}{'-':>8}" if known is None else f"{known:>8}{total - known:>+8}"
        lines.append(f"{count(sum(self.counts.values()), 'knee')} from {count(self.n_radiographs, 'radiograph')}")
        if self.rejected:
            reasons = ", ".join(f"{reason} {n}" for reason, n in Counter(self.rejected).most_common())
            lines.append(f"rejected (rejected.csv): {reasons}")
        if paper:
            lines.append(_PAPER_NOTE)
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class FolderSummary:
    """Counts and decisions of pictures in folders."""

    counts: Mapping[tuple[str, int | None], int]  #: Knees by (split, grade); grade None where it is not known.
    notes: Sequence[str] = ()  #: Decisions that the user should know.

    def __str__(self) -> str:
        """Splits by grades, then the notes."""
        splits = sorted({split for split, _ in self.counts}, key=("train", "val", "test", "").index)
        return "\n".join([*grade_table("split", {s or "(open)": [s] for s in splits}, self.counts), *self.notes])


def grade_table(
    heading: str, groups: Mapping[str, Sequence[str]], counts: Mapping[tuple[str, int | None], int]
) -> list[str]:
    """A line of headings, and for each group of sites or splits one with its knees by grade and their sum."""
    grades: list[int | None] = [*range(N_GRADES), *([None] if any(grade is None for _, grade in counts) else [])]
    rows: list[tuple[str, list[object]]] = [
        (heading, [*("none" if grade is None else f"KL {grade}" for grade in grades), "all"])
    ]
    for name, members in groups.items():
        row = [sum(counts.get((member, grade), 0) for member in members) for grade in grades]
        rows.append((name, [*row, sum(row)]))
    return [f"{name:<10}" + "".join(f"{cell:>7}" for cell in cells) for name, cells in rows]


def nothing_usable(
    summary: ArchiveSummary, rejections: Sequence[Rejection], options: PrepareOptions, *, out: Path, kept: Path
) -> UserError:
    """The error for a preparation without a single knee; options that were given are not proposed again."""
    reasons, rules, n = Counter(rejection.reason for rejection in rejections), options.select, summary.n_radiographs
    named = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common()) or "no radiograph"
    size = options.read.mm_per_px
    known = [
        ("no_grade", not n, "--ungraded keeps knees without a grade"),
        ("no_patient", True, "a --table with columns path and patient names the patients of files without a header"),
        ("missing", True, "paths are below SRC, or below the folder of the list"),
        ("outside", True, "paths are below SRC, or below the folder of the list"),
        ("side_unknown", True, "a column side, or the columns KL_R and KL_L, say which knee a grade belongs to"),
        ("codec", True, "convert the files, as rejected.csv says"),
        ("marker_missing", rules.markers == "require", "--markers check accepts radiographs without side markers"),
        ("spacing", size is None, "--mm-per-px gives the pixel size of files without one"),
        (
            "no_knee",
            True,
            f"no knee is found at a wrong pixel size{f' (--mm-per-px {size:g})' if size else ''} or if bone is dark: "
            "correct that, or give x_mm and y_mm with --corrections",
        ),
        ("one_knee", not rules.side, "--side R, L or unknown gives the side of radiographs of one knee"),
        ("low_score", rules.min_score > 0, f"--min-score below {rules.min_score:g} accepts less certain knees"),
        ("other_knee", True, "--keep-other keeps the good knee beside one that cannot be used"),
        ("bad_id", True, "--pseudonymize replaces patient ids, and a --table with path and patient gives others"),
    ]
    cures = [cure for reason, helps, cure in known if helps and reason in reasons]
    if _SEEN & set(reasons):
        cures.append(f"correct or accept knees with --corrections, by their ids on {out / 'sheet.html'}")
    cure = "; ".join(dict.fromkeys(cures)) or f"see the reasons in {out / 'rejected.csv'}"
    cure += for_single_knees(rejection.name for rejection in rejections if rejection.reason in _CUT_OUT)
    return UserError(
        f"no knee could be used{' of ' + count(n, 'radiograph') if n else ''} ({named}); "
        + some((f"{r.name or r.patient}: {r.detail}" for r in rejections), 3),
        "at least one knee",
        f"{cure}. All reasons are in {out}"
        + (f"; finished radiographs are kept in {kept} for the next start" if n else ""),
    )


def for_single_knees(names: Iterable[str]) -> str:
    """A further cure, where there are pictures among these paths."""
    pictures = any(PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES for name in names)
    return "; pictures of one knee each, cut out already, are for `kneeal prepare folder`" if pictures else ""
