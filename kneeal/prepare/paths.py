"""Paths that a table names inside an archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def path_inside(root: Path, name: str) -> Path | None:
    """The path of a name below a folder; None where the name leaves it (`../`, an absolute path, a drive)."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0] or "\0" in name:
        return None
    return root.joinpath(*parts)


def is_file(path: Path) -> bool:
    """Whether a file is there; a loop of links is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def walk_files(folder: Path) -> Iterator[Path]:
    """All files below a folder in a fixed order, without hidden ones; links to folders are not followed."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(files) if not name.startswith("."))
