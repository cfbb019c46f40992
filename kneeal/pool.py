"""The state of the pool: labeled, unlabeled and pseudo-pool knees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kneeal.errors import UserError, some


@dataclass(frozen=True)
class PoolState:
    """The pool at the start of a round, keyed by stable knee ids and never by position."""

    labeled: Mapping[str, int]  #: D_L, knee id to KL grade, in the order of acquisition.
    unlabeled: tuple[str, ...]  #: D_U, the knees that may still be queried.
    pseudo: tuple[str, ...] = ()  #: U, the least uncertain knees, a subset of `unlabeled`. They have no labels.
    #: Number of finished rounds. A round is fit + evaluate + query, so the answers to the first query, before which
    #: nothing was trained, do not end one.
    round: int = 0
    unreadable: tuple[str, ...] = ()  #: Knees that could not be graded. They are out of the pool and have no label.
    #: Unanswered knees of earlier queries, a subset of `unlabeled`. The next query begins with them.
    asked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "labeled", MappingProxyType(dict(self.labeled)))
        for name in ("unlabeled", "pseudo", "unreadable", "asked"):
            ids = tuple(getattr(self, name))
            object.__setattr__(self, name, ids)
            if len(set(ids)) < len(ids):
                _refuse((i for i, n in Counter(ids).items() if n > 1), f"named twice in {name}", "each knee once")
        if self.round < 0:
            raise UserError(f"round {self.round}", "a round of 0 or more", "start from round 0")
        pool, one = frozenset(self.unlabeled), "each knee labeled, unlabeled or unreadable"
        _refuse((i for i in self.labeled if i in pool), "both labeled and unlabeled", one)
        _refuse((i for i in self.pseudo if i not in pool), "in the pseudo pool but not unlabeled", "unlabeled knees")
        _refuse((i for i in self.unreadable if i in pool), "unreadable and still in the pool", one)
        _refuse((i for i in self.unreadable if i in self.labeled), "unreadable and labeled", one)
        _refuse((i for i in self.asked if i not in pool), "asked for but not unlabeled", "unlabeled knees")

    def advance(
        self,
        answers: Mapping[str, int],
        pseudo: Iterable[str] = (),
        *,
        unreadable: Iterable[str] = (),
        asked: Iterable[str] = (),
    ) -> PoolState:
        """The state after the oracle has answered.

        Args:
            answers: Knee id to KL grade, in the order of the query.
            pseudo: The next pseudo pool, a subset of the knees that stay unlabeled.
            unreadable: Queried knees that cannot be graded; they leave the pool.
            asked: Queried knees that are not answered yet.

        Returns:
            A new state; this one is unchanged.

        Raises:
            UserError: An answered knee is unknown or already labeled, there are no answers, or a pseudo-pool
                knee does not stay unlabeled.
        """
        unreadable = tuple(unreadable)
        if not answers and not unreadable:
            raise UserError("no answers", "a grade for at least one knee", "answer the query first")
        _refuse((i for i in answers if i in self.labeled), "labeled already", "answers for unlabeled knees only")
        pool = frozenset(self.unlabeled)
        _refuse((i for i in (*answers, *unreadable) if i not in pool), "not in the pool", "answers for knees asked for")
        gone = {*answers, *unreadable}
        return PoolState(
            labeled={**self.labeled, **answers},
            unlabeled=tuple(i for i in self.unlabeled if i not in gone),
            pseudo=tuple(pseudo),
            round=self.round + 1 if self.labeled else self.round,
            unreadable=(*self.unreadable, *unreadable),
            asked=tuple(asked),
        )

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON types, with the labels in their order."""
        lists = {name: list(getattr(self, name)) for name in ("unlabeled", "pseudo", "unreadable", "asked")}
        return {"round": self.round, "labeled": [[knee, grade] for knee, grade in self.labeled.items()], **lists}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PoolState:
        """The inverse of `to_dict`.

        Raises:
            UserError: The data is not in the form that `to_dict` writes.
        """
        try:
            return cls(
                labeled={str(knee): int(grade) for knee, grade in data["labeled"]},
                unlabeled=tuple(data["unlabeled"]),
                pseudo=tuple(data["pseudo"]),
                round=int(data["round"]),
                unreadable=tuple(data.get("unreadable", ())),  # absent in the states of version 0.1
                asked=tuple(data.get("asked", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"a pool state that cannot be read ({error!r})",
                "the keys round, labeled, unlabeled and pseudo, as written by kneeal",
                "restore state.json from a backup",
            ) from error


def _refuse(offenders: Iterable[str], why: str, expected: str) -> None:
    found = list(map(repr, offenders))
    if found:
        raise UserError(f"knees {why}: {some(found)}", expected, "check the knee ids")
