"""What the page sends."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Nonce = Annotated[str, Field(min_length=16, max_length=64)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class EmptyRequest(_Request):
    """Nothing but the wish."""


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


class AnswerRequest(_Request):
    """An answer; see `tasks.Answer`."""

    task: int
    picture: Annotated[str, Field(max_length=64)]
    nonce: Nonce
    kl: int | None = None
    reason: Annotated[str, Field(max_length=200)] | None = None
    seconds: Annotated[float | int, Field(ge=0, allow_inf_nan=False)] = 0.0
    measurements: Annotated[list[Measurement], Field(max_length=50)] = []
    findings: Annotated[list[str], Field(max_length=10)] = []
    comment: Annotated[str, Field(max_length=1000)] = ""


class UndoRequest(_Request):
    """Take the last answer back."""

    nonce: Nonce
