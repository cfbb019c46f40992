"""What a reader is given and what she may answer: tasks, progress, answers and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError
from kneeal.exchange.answers import REASONS

#: What a reader may note beside a grade.
FINDINGS = ("prior surgery",)


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
        picture: Token that is sent with the picture of this task, and with nothing else.
        current: The answer that holds, None while the task is open.
        grades: For an adjudication the answers that differ, without names; None is unreadable.
    """

    id: int
    knee_id: str
    kind: str
    picture: str
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


@dataclass(frozen=True)
class Answer:
    """What a page sends.

    Attributes:
        task: Number of the task.
        picture: Token of the picture that was drawn when she answered.
        nonce: Name of this request; the same request sent again changes nothing.
        kl: The grade.
        reason: Why there is none, instead.
        seconds: How long the knee was on a visible page.
        measurements: What she measured.
        findings: What else she saw, of `FINDINGS`.
        comment: Her own words.
    """

    task: int
    picture: str
    nonce: str
    kl: int | None = None
    reason: str | None = None
    seconds: float = 0.0
    measurements: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[str] = ()
    comment: str = ""


def check_answer(answer: Answer) -> None:
    """Whether it can be an answer at all.

    Raises:
        RefusedError: It has neither or both of a grade and a reason, one of them is not among the known ones, or so is
            a finding.
    """
    kl, reason = answer.kl, answer.reason
    if (kl is None) == (reason is None):
        raise RefusedError(
            422, "an answer of neither or both kinds", "a grade, or a reason why there is none", "give one"
        )
    if kl is not None and (isinstance(kl, bool) or not isinstance(kl, int) or not 0 <= kl < N_GRADES):
        raise RefusedError(422, f"grade {kl!r}", f"a whole grade from 0 to {N_GRADES - 1}", "press a key from 0 to 4")
    for found, known in (([] if reason is None else [reason], REASONS), (answer.findings, FINDINGS)):
        unknown = [text for text in found if text not in known]
        if unknown:
            raise RefusedError(422, f"{unknown[0][:80]!r}", f"one of {', '.join(known)}", "choose from the list")
