"""What was prepared, as tables for the console; for OAI beside the paper's Table 1."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kneeal.data.grades import N_GRADES
from kneeal.tables import count

#: Knees in the paper's Table 1, as far as this package knows it (see ``kneeal.data.synthetic.cohort``): by group of
#: sites, never by grade. Of the sites A, C and D it knows only what is left for the three together.
PAPER: Mapping[str, int] = {"B": 1882, "E": 903, "A, C, D": 8050 - 1882, "A to D": 8050, "all": 8953}
_PAPER_NOTE = (
    "paper: knees in its Table 1, as far as this package knows it: the sites B and E, A to D together, and all. Not\n"
    "compared: the sites A, C and D one by one, and each grade. Of the paper's own disagreements, B is the sum of its\n"
    "grades (1882; its total says 1883), and E is the table's (903; the text says 953)."
)


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
                known = PAPER.get(name)
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
