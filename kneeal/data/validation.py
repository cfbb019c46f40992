"""Which graded knees choose the epoch of a fit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kneeal.errors import UserError
from kneeal.seeds import derive_seed


@dataclass(frozen=True)
class Validation:
    """Splits the labels of a round into those to train on and those to choose the epoch by."""

    free: Mapping[str, int]  #: Knees graded besides the budget.
    share: float = 0.0  #: Share of the labeled patients that is held out instead, in [0, 1).
    patients: Mapping[str, str] | None = None  #: Patient of each knee, where there is a share.
    seed: int = 0  #: Decides which patients.

    def split(self, labeled: Mapping[str, int]) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Grades to train on, and grades that choose the epoch; without the latter, the last epoch is kept.

        The seed and the patient alone decide whether a patient is held out, so patients keep their side as labels are
        added, and a warm start has not seen them. At least one patient is held out, and at least one is not.

        Raises:
            UserError: A share is held out, and all labeled knees are of one patient.
        """
        if not self.share or self.patients is None:
            return labeled, self.free
        draw = {p: derive_seed(self.seed, "validation", p) / 2**32 for p in {self.patients[i] for i in labeled}}
        if len(draw) < 2:
            raise UserError(
                f"{len(labeled)} labeled knees of one patient with data.validation = budget",
                "labeled knees of two patients or more, some of whom choose the epoch",
                "label knees of other patients, or choose --set data.validation=none",
            )
        lowest, *_, highest = sorted(draw, key=draw.__getitem__)
        held_out = {p for p in draw if p == lowest or (draw[p] < self.share and p != highest)}
        train = {i: kl for i, kl in labeled.items() if self.patients[i] not in held_out}
        return train, {i: kl for i, kl in labeled.items() if i not in train}

    def check(self, n_init: int) -> None:
        """Refuse a first query that is too small to hold a share of it out."""
        smallest = max(3, math.ceil(1 / self.share)) if self.share else 1
        if n_init < smallest:
            raise UserError(
                f"a first query of {n_init} knees with data.validation = budget",
                f"at least {smallest} knees, since a share of {self.share:g} of them chooses the epoch",
                f"set active.n_init={smallest} or more, raise data.val_fraction, or choose data.validation=none",
            )
