"""What a reader is given and what she may say: tasks, progress, and refusals."""

from __future__ import annotations

from dataclasses import dataclass

from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError


class RefusedError(UserError):
    """An answer that cannot be taken. Nothing changes.

    Args:
        code: HTTP status.
        found: See `UserError`.
        expected: See `UserError`.
        cure: See `UserError`.
    """

    def __init__(self, code: int, found: str, expected: str, cure: str) -> None:
        super().__init__(found, expected, cure)
        self.code = code

    def __reduce__(self) -> tuple[type[RefusedError], tuple[int, str, str, str]]:  # type: ignore[override]
        """Pickle by parts."""
        return type(self), (self.code, self.found, self.expected, self.cure)


@dataclass(frozen=True)
class Task:
    """One knee before one reader.

    Attributes:
        id: Number of the task; says nothing about the patient.
        knee_id: The knee. Never leaves the server.
        kind: "first", "repeat" (which the page does not learn) or "adjudication".
        current: The answer that holds, None while the task is open.
        grades: For an adjudication the answers that differ, without names; None is unreadable.
    """

    id: int
    knee_id: str
    kind: str
    current: int | None = None
    grades: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Progress:
    """Where a reader is.

    Attributes:
        done: Her answers to this query.
        left: Readings left for her.
        pace: Median seconds of her last answers, None before the first.
    """

    done: int
    left: int
    pace: float | None


def check_answer(kl: int | None, reason: str | None) -> None:
    """Whether it is an answer at all.

    Args:
        kl: The grade.
        reason: Why there is none.

    Raises:
        RefusedError: It has neither or both, the grade is out of range, or the reason empty or very long.
    """
    if (kl is None) == (reason is None):
        raise RefusedError(
            422, "an answer of neither or both kinds", "a grade, or a reason why there is none", "give one"
        )
    if kl is not None and (isinstance(kl, bool) or not isinstance(kl, int) or not 0 <= kl < N_GRADES):
        raise RefusedError(422, f"grade {kl!r}", f"a whole grade from 0 to {N_GRADES - 1}", "press a key from 0 to 4")
    if reason is not None and not 0 < len(reason.strip()) <= 200:
        raise RefusedError(422, "no reason, or a very long one", "a reason of up to 200 letters", "choose a reason")
