"""Checks of the options of strategies."""

import math
from collections.abc import Iterable

from kneeal.errors import UserError


def check_int(name: str, value: object, minimum: int = 1) -> int:
    """The value, if it is an integer of at least `minimum`.

    Raises:
        UserError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise UserError(f"{name} = {value!r}", f"a whole number of at least {minimum}", f"correct {name}")
    return value


def check_float(name: str, value: object, low: float, high: float = math.inf) -> float:
    """The value, if it is a finite number above `low` and at most `high`.

    Raises:
        UserError: It is not.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low < value <= high or math.isinf(value):  # type: ignore[operator, arg-type]
        bounds = f"above {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
        raise UserError(f"{name} = {value!r}", f"a number {bounds}", f"correct {name}")
    return float(value)  # type: ignore[arg-type]


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """The value, if it is one of the choices.

    Raises:
        UserError: It is not.
    """
    if value not in (known := tuple(choices)):
        raise UserError(f"{name} = {value!r}", f"one of: {', '.join(known)}", f"correct {name}")
    return value
