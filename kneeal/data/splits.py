"""Training, validation and test knees, with all knees of a patient in one of them."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kneeal.data.manifest import Manifest, refuse_patients_in_two
from kneeal.errors import UserError, some
from kneeal.seeds import derive_seed


@dataclass(frozen=True)
class Splits:
    """Training, validation and test knees."""

    train: tuple[str, ...]  #: The pool; no labels.
    val: Mapping[str, int]  #: Validation knees and grades.
    test: Mapping[str, int]  #: Test knees and grades.


@dataclass(frozen=True)
class Validation:
    """Splits the labels of a round into those to train on and those to choose the epoch by."""

    free: Mapping[str, int]  #: Knees graded besides the budget.
    share: float = 0.0  #: Share of the labeled patients that is held out instead, in [0, 1).
    patients: Mapping[str, str] | None = None  #: Patient of each knee, where there is a share.
    seed: int = 0  #: Decides which patients.

    def split(self, labeled: Mapping[str, int]) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Grades to train on, and grades that choose the epoch; without the latter, the last epoch is kept.

        The seed and the patient alone decide whether a patient is held out, so none changes sides as labels are
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


def make_splits(
    manifest: Manifest, *, test_site: str | None, val_fraction: float | None = 0.2, seed: int = 0
) -> Splits:
    """Split the knees into training, validation and test set.

    Knees with a split in the manifest keep it. Of the others, those of `test_site` are the test set; where the manifest
    has no validation set, `val_fraction`, in (0, 1), of the remaining patients become it, stratified by KL grade, with
    at least one patient for each grade that two patients have. With None there is no validation set, not even the
    manifest's. Test and validation knees without a known grade are left out; training knees without one stay. The order
    of the rows does not matter.

    Raises:
        UserError: There is no test set, the test site does not exist or contradicts the given splits, a patient would
            be in two splits, or a grade of the training knees is missing in the validation set.
    """
    split, site_of = manifest.column("split"), manifest.column("site")
    sites = sorted(set(site_of.values()) - {""})
    if test_site is not None:
        wrong = [i for i, site in site_of.items() if split[i] in (("train", "val") if site == test_site else ("test",))]
        if wrong:
            raise UserError(
                f"the test site is {test_site}, but the manifest's column split contradicts it for {some(wrong)}",
                "the test set by site or by split",
                "empty the column split for these knees, or leave the test site empty",
            )
        split.update({knee: "test" for knee, site in site_of.items() if site == test_site})
    if "test" not in split.values() or (test_site is not None and test_site not in sites):
        raise UserError(
            "no test set: no knee has the split test" + (f" or the site {test_site}" if test_site else ""),
            f"a site among {', '.join(sites)}" if sites else "a split for the knees, since they have no site",
            "set data.test_site, or write train and test into the manifest's column split",
        )
    refuse_patients_in_two({knee: name or "train" for knee, name in split.items()}, manifest.patients, "the data set")
    free = defaultdict(list)
    for knee in manifest.ids:
        if split[knee] in ("", "train"):
            free[manifest.patients[knee]].append(knee)
    if val_fraction is not None and "val" not in split.values():
        for patient in _draw_patients(free, manifest.kl, val_fraction, seed):
            split.update(dict.fromkeys(free[patient], "val"))
    graded = {
        name: {i: manifest.kl[i] for i in manifest.ids if split[i] == name and i in manifest.kl}
        for name in ("val", "test")
    }
    train = tuple(i for i in manifest.ids if split[i] in ("", "train"))
    splits = Splits(train, {} if val_fraction is None else graded["val"], graded["test"])
    _check(splits, manifest.kl, validates=val_fraction is not None)
    return splits


def _draw_patients(knees: Mapping[str, Sequence[str]], kl: Mapping[str, int], fraction: float, seed: int) -> list[str]:
    """A share of the patients of each stratum; a stratum is the grades of a patient's knees."""
    strata = defaultdict(list)
    for patient in sorted(knees):
        grades = sorted((kl[knee] for knee in knees[patient] if knee in kl), reverse=True)
        if grades:
            strata[tuple(grades)].append(patient)
    rng = np.random.default_rng(seed)
    drawn: list[str] = []
    carry = 0.0
    # Strata in the order of their worst grade, so that what rounding leaves over goes to a neighbor.
    for stratum in sorted(strata, reverse=True):
        patients = [strata[stratum][k] for k in rng.permutation(len(strata[stratum]))]
        exact = fraction * len(patients) + carry
        n = min(len(patients), max(0, round(exact)))
        carry = exact - n
        drawn += patients[:n]
    # One more patient for each grade that no drawn patient has although at least two patients have it.
    for grade in sorted({grade for stratum in strata for grade in stratum}):
        candidates = [patient for stratum in sorted(strata) if grade in stratum for patient in strata[stratum]]
        if len(candidates) > 1 and set(drawn).isdisjoint(candidates):
            drawn.append(candidates[0])
    return drawn


def _check(splits: Splits, kl: Mapping[str, int], *, validates: bool) -> None:
    if not splits.train:
        raise UserError("no training knee", "knees outside validation and test set", "give some the split train")
    for name, graded in (("validation", splits.val), ("test", splits.test)):
        if not graded and (validates or name == "test"):
            raise UserError(
                f"no {name} knee with a known grade", "at least one, to measure with", f"add grades of {name} knees"
            )
    absent = sorted({kl[i] for i in splits.train if i in kl} - set(splits.val.values()))
    if absent and validates:
        raise UserError(
            f"no validation knee of grade {', '.join(map(str, absent))}",
            "every grade of the training knees in the validation set, since its balanced accuracy chooses the epoch",
            "add a second patient with that grade, or give the patients' splits in the manifest's column split",
        )
