"""What the page sends."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SignInRequest(_Request):
    """A one-time link."""

    secret: Annotated[str, Field(max_length=200)]


class Measurement(_Request):
    """A length measured on the picture, in its pixels and in mm where its scale is known."""

    x0: float
    y0: float
    x1: float
    y1: float
    mm: float | None = None


class AnswerRequest(_Request):
    """An answer."""

    task: int
    seen: int | None = None
    nonce: Annotated[str, Field(min_length=16, max_length=64)]
    kl: int | None = None
    reason: str | None = None
    seconds: float | int = 0.0
    measurements: Annotated[list[Measurement], Field(max_length=50)] = []


class UndoRequest(_Request):
    """Take the last answer back."""

    nonce: Annotated[str, Field(min_length=16, max_length=64)]


class EmptyRequest(_Request):
    """Nothing to say."""
