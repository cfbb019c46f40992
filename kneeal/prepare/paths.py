"""Files below a folder: all of them, and those that a table names."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property
from os.path import exists, isfile  # unlike the methods of `Path`, they raise nothing
from pathlib import Path, PureWindowsPath

#: How the names of pictures end.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".jls", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm")


class NamedFiles:
    """Finds the files that a table names below a folder.

    A name may differ from the file's in the case of letters and the form of accents, may come from elsewhere, also from
    another machine, if it leads through a folder of the same name, and without a folder may be the name or the stem of
    one file anywhere below it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = {_key(path.name) for path in (root.absolute(), root.resolve())}

    def find(self, name: str) -> tuple[str, str]:
        """The file's path below the folder, with `/`, and ""; or "" and why: outside, missing, or no regular file."""
        path = PureWindowsPath(name)  # takes slashes of both kinds
        starts = [k + 1 for k, part in enumerate(path.parts[:-1]) if _key(part) in self._names]
        starts = starts if path.anchor else [0, *starts]
        below = ["/".join(path.parts[k:]) for k in starts if ".." not in path.parts[k:]]
        for found in below:
            if isfile(self._root / found):  # noqa: PTH113 - Path.is_file raises for a name that is too long
                return found, ""
            if len(alike := self._index[_key(found)]) == 1:
                return alike[0], ""
        there = any(found and exists(self._root / found) for found in below)  # noqa: PTH110 - as above
        return "", "unreadable" if there else "missing" if below else "outside"

    @cached_property
    def _index(self) -> defaultdict[str, list[str]]:
        """Files by their paths, names and stems, without case."""
        index: defaultdict[str, list[str]] = defaultdict(list)
        for path in filter(isfile, walk_files(self._root)):
            name = path.relative_to(self._root).as_posix()
            for key in {_key(name), _key(path.name), _key(path.stem)}:
                index[key].append(name)
        return index


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def walk_files(
    folder: Path, on_error: Callable[[OSError], None] | None = None, *, depth: int | None = None
) -> Iterator[Path]:
    """All files below a folder, and `depth` levels of it, in a fixed order, without hidden ones.

    A link to a folder is given as if it were a file, and not followed.
    A folder that cannot be read is passed over, or given to `on_error`.
    """
    for parent, folders, files in os.walk(folder, onerror=on_error):
        deeper = depth is None or len(Path(parent).relative_to(folder).parts) < depth - 1
        folders[:] = sorted(name for name in folders if deeper and not name.startswith("."))
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        yield from (Path(parent) / name for name in sorted(files + links) if not name.startswith("."))
