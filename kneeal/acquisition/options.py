"""Checks of the options that strategies take, with messages for whoever wrote them."""

from __future__ import annotations

import math

from kneeal.errors import UserError


def whole(name: str, value: object, least: int = 1) -> int:
    """The value, if it is a whole number of at least `least`.

    Raises:
        UserError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name} = {value!r}", f"a whole number of at least {least}", f"correct {name}")
    return value


def number(name: str, value: object, low: float, high: float = math.inf, *, open_low: bool = True) -> float:
    """The value, if it is a number between two bounds.

    Args:
        name: Of the option.
        value: What was given.
        low: Lower bound.
        high: Upper bound, which is allowed itself where it is finite.
        open_low: Whether `low` itself is refused.

    Raises:
        UserError: It is not.
    """
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not right or not low <= value <= high or (open_low and value == low):  # type: ignore[operator]
        bounds = f"{'above' if open_low else 'of at least'} {low:g}" + (
            f" and at most {high:g}" if high < math.inf else ""
        )
        raise UserError(f"{name} = {value!r}", f"a number {bounds}", f"correct {name}")
    return float(value)  # type: ignore[arg-type]
