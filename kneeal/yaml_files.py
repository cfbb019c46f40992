"""YAML as users expect it: `1e-3` is a number, and a key given twice is a mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from kneeal.errors import UserError


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path)) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})", "a YAML text file", "check the path") from error


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML with numbers as YAML 1.2 has them (`1e-3` is a number) and without repeated keys."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where} is not YAML: {reason}", "valid YAML", "correct the line named above") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with exponents without a dot and refusing a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)
