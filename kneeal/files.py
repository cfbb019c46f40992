"""Files written whole or not at all, locks, and YAML with `1e-3` as a number and no key given twice."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def hold(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file; the lock goes with the process, however that ends.

    Args:
        path: The file, made where it is missing.
        on_wait: Called once before waiting for a process that holds it.

    Raises:
        BlockingIOError: Another process holds it and there is no `on_wait`, or the file system has no locks.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        waiting = False
        while not _take(handle, path, wait=on_wait is not None):
            if not waiting and on_wait is not None:
                on_wait()
            waiting = True
            time.sleep(0.2)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path, *, wait: bool) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if wait and isinstance(error, BlockingIOError | PermissionError):
            return False
        raise BlockingIOError(f"{path} is held") from error
    return True


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
