"""What a reader is given: tasks, her progress, and refusals."""

from dataclasses import dataclass

from kneeal.errors import UserError


class RefusedError(UserError):
    """An answer that cannot be taken, with the HTTP status that says so. Nothing changes."""

    def __init__(self, code: int, found: str, expected: str, cure: str) -> None:
        super().__init__(found, expected, cure)
        self.code = code


@dataclass(frozen=True)
class Task:
    """One knee before one reader."""

    id: int  #: Number of the task; says nothing about the patient.
    knee_id: str  #: The knee. Never leaves the server.
    kind: str  #: "first", "repeat" (which the page does not learn) or "adjudication".
    picture: str  #: Token that is sent with the picture of this task, and with nothing else.
    current: int | None  #: The answer that holds, None while the task is open.
    looked: float | None  #: When she was shown the model's prediction, in seconds since 1970; None if never.
    knee: int  #: Number of the knee in the store.
    state: str  #: Of the knee: "open", "disagreed", "settled" or "closed".
    #: For an adjudication the answers that differ, without names; None is unreadable.
    grades: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Progress:
    """Where a reader is."""

    done: int  #: Her answers to this query.
    left: int  #: Readings left for her.
    pace: float | None  #: Median seconds of her last answers, None before the first.
