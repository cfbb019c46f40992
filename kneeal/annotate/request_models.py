"""What the page sends."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from kneeal.data.grades import N_GRADES
from kneeal.exchange.answers import UNREADABLE_REASONS

#: What a reader may note beside a grade.
FINDINGS = ("prior surgery",)
Nonce = Annotated[str, Field(min_length=16, max_length=64)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class EmptyRequest(_Request):
    """A request without content."""


class SignInRequest(_Request):
    """A one-time link."""

    secret: Annotated[str, Field(max_length=200)]


class Measurement(_Request):
    """A length on the picture, in its pixels and in mm where its scale is known.

    A `name` says what it is: the minimal joint-space width, medial or lateral.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    mm: float | None = None
    name: Literal["medial", "lateral"] | None = None


class Answer(_Request):
    """A reader's answer: a grade, or the reason why the knee cannot be graded."""

    task: int  #: Number of the task.
    picture: Annotated[str, Field(max_length=64)]  #: Token of the picture that was drawn when she answered.
    nonce: Nonce  #: Name of this request; the same request sent again changes nothing.
    kl: Annotated[int, Field(ge=0, lt=N_GRADES)] | None = None  #: The grade.
    reason: Annotated[str, Field(max_length=200)] | None = None  #: One of `UNREADABLE_REASONS`, instead of a grade.
    #: How long the knee was on a visible page; a day at most is kept.
    seconds: Annotated[float | int, Field(ge=0, allow_inf_nan=False), AfterValidator(lambda s: min(s, 86400.0))] = 0.0
    measurements: Annotated[list[Measurement], Field(max_length=50)] = []  #: What she measured.
    findings: Annotated[list[str], Field(max_length=10)] = []  #: What else she saw, of `FINDINGS`.
    comment: Annotated[str, Field(max_length=1000), AfterValidator(str.strip)] = ""  #: Her own words.

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kl is None) == (self.reason is None):
            raise ValueError("an answer with neither or both of a grade and a reason")
        reasons = [] if self.reason is None else [self.reason]
        for given, known in ((reasons, UNREADABLE_REASONS), (self.findings, FINDINGS)):
            if unknown := [text for text in given if text not in known]:
                raise ValueError(f"{unknown[0][:80]!r} is not one of {', '.join(known)}")
        return self


class UndoRequest(_Request):
    """Take the last answer back."""

    nonce: Nonce
