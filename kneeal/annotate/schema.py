"""The tables of a store, and how a connection to it is opened."""

import os
import secrets
import sqlite3
from importlib.resources import files
from pathlib import Path

from kneeal.errors import UserError

#: The store's file in a run folder.
STORE = "annotate.sqlite"
VERSION = 3
#: "KNEE" as a number: what the file says it is.
APPLICATION = 0x4B4E4545
#: Permissions of what holds readings.
PRIVATE = 0o600


def connect(path: Path, *, create: bool, timeout: float = 5.0) -> sqlite3.Connection:
    """Open a store, and make it if `create`; `timeout` is in seconds, for another program's lock.

    Every commit is on disk when it returns: write-ahead log, synchronized in full.

    Raises:
        UserError: The file does not exist, is something else, or is of a later version.
    """
    if not create and not path.is_file():
        raise UserError(f"no store {path}", "a run that was annotated", "start `kneeal annotate RUN` first")
    try:
        # For its owner alone; SQLite gives the write-ahead log the same permissions. An existing file is not
        # opened: closing it again would drop the locks that SQLite holds on it in this process.
        if create and not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
        path.chmod(PRIVATE)
        connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # In one transaction, unless another process has made them since it was looked.
        if create and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            tables = files("kneeal.annotate").joinpath("schema.sql").read_text("utf-8")
            connection.executescript(
                f"BEGIN IMMEDIATE; {tables} INSERT OR IGNORE INTO setting VALUES ('id', '{secrets.token_hex(4)}');"
                f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
            )
    except (sqlite3.DatabaseError, OSError) as error:
        raise UserError(
            f"{path} cannot be opened ({error})",
            "a store of readings that kneeal wrote, on a local disk with free space",
            "stop the program that locks it, or restore the file from a backup",
        ) from error
    pragmas = ("application_id", "user_version")
    application, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas)
    if (application, version) != (APPLICATION, VERSION):
        connection.close()
        raise UserError(
            f"{path} is a database of another kind or version ({application:#x}, {version})",
            f"a store of readings of version {VERSION}",
            "use the version of kneeal that wrote it, or restore the file from a backup",
        )
    return connection
