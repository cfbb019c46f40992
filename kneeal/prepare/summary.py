"""What was prepared, as tables for the console; for OAI beside the paper's Table 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kneeal.data.grades import N_GRADES

#: Knees in the paper's Table 1, as far as this package knows it (see ``kneeal.data.synthetic.cohort``): by group of
#: sites, never by grade. Of the sites A, C and D it knows only what is left for the three together.
PAPER: Mapping[str, int] = {"B": 1882, "E": 903, "ACD": 8050 - 1882, "ABCD": 8050, "ABCDE": 8953}
_PAPER_NOTE = (
    "paper: knees in its Table 1, as far as this package knows it: the sites B and E, A to D together, and all. Not\n"
    "compared: the sites A, C and D one by one, and each grade. Of the paper's own disagreements, B is the sum of its\n"
    "grades (1882; its total says 1883), and E is the table's (903; the text says 953)."
)


@dataclass(frozen=True)
class ArchiveSummary:
    """Counts and decisions.

    Attributes:
        source: Name of the source.
        counts: Knees by (site, grade); grade None where it is not known.
        rejected: Number of radiographs or knees rejected by reason.
        n_radiographs: Radiographs that were looked at.
        notes: Decisions that the user should know.
    """

    source: str
    counts: Mapping[tuple[str, int | None], int]
    rejected: Mapping[str, int]
    n_radiographs: int
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """Sites by grades, then what was rejected, then the notes."""
        unknown = any(kl is None for _, kl in self.counts)
        grades: list[int | None] = [*range(N_GRADES), *([None] if unknown else [])]
        paper = self.source == "oai"
        header = "site      " + "".join(f"{'none' if g is None else f'KL {g}':>7}" for g in grades) + f"{'all':>7}"
        lines = [header + (f"{'paper':>8}{'diff.':>8}" if paper else "")]
        sites = sorted({site for site, _ in self.counts} | (set("ABCDE") if paper else set()))
        lines += [self._line(site or "(none)", [site], grades, PAPER.get(site), paper) for site in sites]
        if paper:
            lines.append(self._line("A, C, D", list("ACD"), grades, PAPER["ACD"], paper))
            lines.append(self._line("A to D", list("ABCD"), grades, PAPER["ABCD"], paper))
        lines.append(self._line("all", sites, grades, PAPER["ABCDE"], paper))
        total = sum(self.counts.values())
        lines.append(f"{total} knees from {self.n_radiographs} radiographs")
        if self.rejected:
            reasons = ", ".join(f"{reason} {n}" for reason, n in Counter(self.rejected).most_common())
            lines.append(f"rejected (rejected.csv): {reasons}")
        if paper:
            lines.append(_PAPER_NOTE)
        return "\n".join([*lines, *self.notes])

    def _line(
        self, name: str, sites: Sequence[str], grades: Sequence[int | None], paper: int | None, beside: bool
    ) -> str:
        row = [sum(self.counts.get((site, grade), 0) for site in sites) for grade in grades]
        line = f"{name:<10}" + "".join(f"{n:>7}" for n in (*row, sum(row)))
        if not beside:
            return line
        return line + (f"{'-':>8}{'-':>8}" if paper is None else f"{paper:>8}{sum(row) - paper:>+8}")
