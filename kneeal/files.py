"""Files written whole or not at all, locks, and YAML with `1e-3` as a number and no repeated keys."""

import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from kneeal.errors import UserError, readable


def write_atomic(path: Path, content: str | bytes, *, mode: int = 0o666) -> None:
    """Write a file so that it is found either whole or as it was before, even after a power cut.

    `mode` is its permissions, less what the process masks.

    Raises:
        UserError: The disk is full or the folder is not writable. What was there stays.
    """
    with atomic_file(path, mode=mode) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """The same for whatever writes a file by its path: gives a path to write to, which becomes `path` at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch(mode)
            yield temporary
            move_whole(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: gives a new one to fill, which becomes `path`, missing or empty until then."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield work
            for inside in (*work.rglob("*"), work):
                sync(inside)
            work.chmod(0o755)
            if path.is_dir():
                path.rmdir()
            work.replace(path)
            sync(path.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def move_whole(source: Path, target: Path) -> None:
    """Move a finished file into its place, its content on disk before its name."""
    sync(source)
    source.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Return when a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn disk errors while the block writes `path` into a message to the user."""
    try:
        yield
    except OSError as error:
        first = error
        while first.errno is None and isinstance(first.__cause__, OSError):
            first = first.__cause__  # pydicom raises a copy without the number
        if first.errno is None:
            raise
        raise cannot_write(path, first) from error
    except RuntimeError as error:  # as torch reports a full disk
        if "PytorchStreamWriter" not in str(error):
            raise
        raise cannot_write(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error


def check_new_file(path: Path) -> None:
    """Refuse an output file that exists, or whose folder does not, before the work for it is done."""
    if path.exists():
        raise UserError(f"{path} already exists", "a new file", "give another name, or remove it first")
    if not any(place.is_file() for place in path.parents):
        cure = f"make it with `mkdir -p {path.parent}`, or correct the path"
        check_folder(path.parent, "a file in an existing folder", cure)
    check_writable(path.parent)


def check_writable(folder: Path) -> None:
    """Make a folder, or refuse one that could not be written in."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def describe_path(path: Path) -> str:
    """What lies at a path that should be something else, for a message."""
    kinds = {"run.json": "a run", "study.json": "a study", "dataset.json": "a prepared data set"}
    if not path.is_dir():
        return "it is a file" if path.exists() else "it does not exist"
    return f"it is {next((kind for name, kind in kinds.items() if (path / name).is_file()), 'another folder')}"


def check_folder(path: Path, expected: str, cure: str = "check the path") -> None:
    """Refuse a path that is not a folder."""
    if not path.is_dir():
        raise UserError(f"no folder {path}: {describe_path(path)}", expected, cure)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error for a full disk, an unwritable folder or an impossible path."""
    found = f"cannot write {path}: {error.strerror or error}"
    file = next((place for place in (path, *path.parents) if place.is_file()), None)
    if file and error.errno in (errno.EEXIST, errno.ENOTDIR):
        return UserError(f"cannot write {path}: {file} is a file", "a folder", f"give another path, or move {file}")
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG):
        return UserError(found, "the path of a new file or folder", "give another path")
    return UserError(
        found,
        "a writable folder with free space",
        "free some space or correct the permissions, then start again (a run with --resume); finished work is kept",
    )


def try_lock(path: Path) -> int | None:
    """A descriptor that holds a lock file, None while another process holds it.

    The lock lives in the open file: a child process that inherits the descriptor keeps it, and the end of its last
    holder, however sudden, frees it. Close it to free the lock.

    Raises:
        UserError: The file cannot be written, or the file system has no locks.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                return None
            raise
    return handle


def is_locked(path: Path) -> bool:
    """Whether some process holds a lock file."""
    if not path.is_file():
        return False
    handle = try_lock(path)
    if handle is not None:
        os.close(handle)
    return handle is None


@contextmanager
def hold_lock(path: Path, *, what: object = None, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file while the block runs; `what` names the work in the message, else the file's folder.

    With `on_wait`, which is called once before, it waits for another process.

    Raises:
        UserError: Another process holds it and there is no `on_wait`.
    """
    handle = try_lock(path)
    if handle is None:
        if on_wait is None:
            found = f"another process is working on {what or path.parent}"
            raise UserError(found, "one process at a time", "wait for it, or stop it")
        on_wait()
    while handle is None:
        time.sleep(0.2)
        handle = try_lock(path)
    try:
        yield
    finally:
        os.close(handle)


def read_yaml(path: Path) -> Any:
    """Read a YAML file."""
    with readable(path, "a YAML text file", "check the path"):
        return parse_yaml(path.read_text(encoding="utf-8"), str(path)) or {}


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML with numbers as YAML 1.2 has them (`1e-3` is a number) and without repeated keys."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where} is not YAML: {reason}", "valid YAML", "correct the line named above") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with exponents without a dot and refusing repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)
