"""Files written whole or not at all, and YAML as users expect it: `1e-3` is a number, a repeated key a mistake."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from kneeal.errors import UserError


def write_atomic(path: Path, content: str) -> None:
    """Write a text file so that it is found either whole or as it was before, even after a power cut.

    Raises:
        UserError: The disk is full or the folder is not writable. What was there stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None
        raise cannot_write(path, error) from error


def move_whole(source: Path, target: Path) -> None:
    """Move a finished file into its place, its content on disk before its name."""
    _sync(source)
    source.replace(target)
    _sync(target.parent)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The message for a full disk or an unwritable folder."""
    return UserError(
        f"cannot write {path}: {error.strerror or error}",
        "a writable folder with free space",
        "free some space or correct the permissions, then start again with --resume; what is finished is kept",
    )


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


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
