"""What was prepared, as tables for the console; for OAI beside the paper's Table 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kneeal.data.grades import N_GRADES

#: What is known of the paper's Table 1 (see ``kneeal.data.synthetic.cohort``): sites B and E, the training sites
#: A to D together, and all. The other three sites are not given separately there.
PAPER_SITES = {"B": 1882, "E": 903}
PAPER_TRAINING, PAPER_ALL = 8050, 8953


@dataclass(frozen=True)
class ArchiveSummary:
    """Counts and decisions.

    Attributes:
        source: Name of the source.
        counts: Knees by (site, grade); grade None where it is not known.
        refused: Number of films or knees set aside by reason.
        n_films: Films that were looked at.
        notes: Decisions that the user should know.
    """

    source: str
    counts: Mapping[tuple[str, int | None], int]
    refused: Mapping[str, int]
    n_films: int
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """Sites by grades, then what was set aside, then the notes."""
        unknown = any(kl is None for _, kl in self.counts)
        grades: list[int | None] = [*range(N_GRADES), *([None] if unknown else [])]
        paper = self.source == "oai"
        header = "site      " + "".join(f"{'none' if g is None else f'KL {g}':>7}" for g in grades) + f"{'all':>7}"
        lines = [header + (f"{'paper':>8}{'diff.':>8}" if paper else "")]
        sites = sorted({site for site, _ in self.counts} | (set("ABCDE") if paper else set()))
        lines += [
            self._line(site or "(none)", [site], grades, PAPER_SITES.get(site) if paper else None, paper)
            for site in sites
        ]
        if paper:
            lines.append(self._line("A to D", list("ABCD"), grades, PAPER_TRAINING, paper))
        lines.append(self._line("all", sites, grades, PAPER_ALL if paper else None, paper))
        total = sum(self.counts.values())
        lines.append(f"{total} knees from {self.n_films} films")
        if self.refused:
            reasons = ", ".join(f"{reason} {n}" for reason, n in Counter(self.refused).most_common())
            lines.append(f"set aside (rejected.csv): {reasons}")
        if paper:
            lines.append("paper: its Table 1, where sites A, C and D are not given one by one; B sums to 1882 there")
        return "\n".join([*lines, *self.notes])

    def _line(
        self, name: str, sites: Sequence[str], grades: Sequence[int | None], paper: int | None, beside: bool
    ) -> str:
        row = [sum(self.counts.get((site, grade), 0) for site in sites) for grade in grades]
        line = f"{name:<10}" + "".join(f"{n:>7}" for n in (*row, sum(row)))
        if not beside:
            return line
        return line + (f"{'-':>8}{'-':>8}" if paper is None else f"{paper:>8}{sum(row) - paper:>+8}")
