"""From settings to keyword arguments: a setting reaches the constructor that has a parameter of its name."""

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel


def keywords(target: Callable[..., Any], *sections: BaseModel) -> dict[str, Any]:
    """The settings of some sections that a constructor takes, by name."""
    known = inspect.signature(target).parameters
    return {name: value for section in sections for name, value in section if name in known}
