"""Which graded knees choose the epoch of a fit, and at whose cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kneeal.errors import UserError
from kneeal.seeds import derive_seed


@dataclass(frozen=True)
class Validation:
    """Splits the labels of a round into those to train on and those to choose the epoch by.

    Attributes:
        free: Knees graded besides the budget.
        share: Share of the labeled patients that is set aside instead, in [0, 1).
        patients: Patient of each knee, where there is a share.
        seed: Decides which patients.
    """

    free: Mapping[str, int]
    share: float = 0.0
    patients: Mapping[str, str] | None = None
    seed: int = 0

    def split(self, labeled: Mapping[str, int]) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """The knees to train on and those that choose the epoch, with their grades; no such knee keeps the last epoch.

        Whether a patient is set aside is a function of the seed and the patient, so that patients keep their side when
        labels are added, and a network that starts from the weights of the round before has not seen them. Where all or
        none would be, the first or the last of them is an exception.

        Raises:
            UserError: A share is to be set aside, and all knees are of one patient.
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
        # At least one patient is set aside, and at least one is not.
        lowest, *_, highest = sorted(draw, key=draw.__getitem__)
        aside = {p for p in draw if p == lowest or (draw[p] < self.share and p != highest)}
        train = {i: kl for i, kl in labeled.items() if self.patients[i] not in aside}
        return train, {i: kl for i, kl in labeled.items() if i not in train}

    def check(self, n_init: int) -> None:
        """Refuse a first query that is too small to set a share of it aside.

        Raises:
            UserError: It is; the least that works is named.
        """
        least = max(3, math.ceil(1 / self.share)) if self.share else 1
        if n_init < least:
            raise UserError(
                f"a first query of {n_init} knees with data.validation = budget",
                f"at least {least} knees, since a share of {self.share:g} of them chooses the epoch",
                f"set active.n_init={least} or more, raise data.val_fraction, or choose data.validation=none",
            )
