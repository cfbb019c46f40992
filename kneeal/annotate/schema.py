"""The tables of a store, and how a connection to it is opened."""

import os
import secrets
import sqlite3
from pathlib import Path

from kneeal.errors import UserError

#: The store's file in a run folder.
STORE = "annotate.sqlite"
VERSION = 3
#: "KNEE" as a number: what the file says it is.
APPLICATION = 0x4B4E4545
#: Permissions of what holds readings.
PRIVATE = 0o600

TABLES = """
CREATE TABLE IF NOT EXISTS setting (     -- what belongs to the run: its id, readers per knee, share of silent repeats
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reader (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  reads INTEGER NOT NULL,        -- is given knees to read
  adjudicates INTEGER NOT NULL,  -- decides where readings differ
  created REAL NOT NULL,
  removed REAL,                  -- her readings stay
  planned INTEGER NOT NULL DEFAULT 0,  -- newest query whose repeats are planned
  informed INTEGER NOT NULL DEFAULT 0  -- newest query in which she has been shown readings of others
);
CREATE TABLE IF NOT EXISTS link (              -- one-time links; only a digest is kept
  digest TEXT PRIMARY KEY,
  reader INTEGER NOT NULL REFERENCES reader,
  expires REAL NOT NULL,
  used REAL
);
CREATE TABLE IF NOT EXISTS session (
  digest TEXT PRIMARY KEY,
  reader INTEGER NOT NULL REFERENCES reader,
  csrf TEXT NOT NULL,
  expires REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS knee (              -- every knee that was queried, once
  id INTEGER PRIMARY KEY,
  knee_id TEXT NOT NULL UNIQUE,
  query INTEGER NOT NULL,        -- the query it is in, from 1; an open knee is carried into the next one
  position INTEGER NOT NULL,
  taken INTEGER NOT NULL DEFAULT 0,   -- first readings begun and not put off
  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'disagreed', 'settled', 'closed')),
  kl INTEGER,                    -- of a settled or closed knee; NULL is unreadable
  rule TEXT,                     -- single, agreed, adjudicated; file where the answer did not come from here
  closed REAL                    -- when it went to training
);
CREATE INDEX IF NOT EXISTS knee_open ON knee (state, query, position);
CREATE TABLE IF NOT EXISTS planned (           -- which knees a reader is silently given twice
  knee INTEGER NOT NULL REFERENCES knee,
  reader INTEGER NOT NULL REFERENCES reader,
  due INTEGER,                   -- number of her answers from which on; NULL before her first reading
  PRIMARY KEY (reader, knee)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS planned_knee ON planned (knee);
CREATE TABLE IF NOT EXISTS task (              -- one reading of one knee by one reader
  id INTEGER PRIMARY KEY,        -- random, so that a reader learns nothing from it
  knee INTEGER NOT NULL REFERENCES knee,
  reader INTEGER NOT NULL REFERENCES reader,
  kind TEXT NOT NULL CHECK (kind IN ('first', 'repeat', 'adjudication')),
  picture TEXT NOT NULL,         -- known only to who was sent the picture of this task
  begun REAL NOT NULL,
  later REAL,                    -- when the reader put it off
  current INTEGER REFERENCES answer,       -- the answer that holds; NULL while the task is open
  looked REAL,                   -- when the reader was shown the model's prediction
  UNIQUE (knee, reader, kind)
);
CREATE INDEX IF NOT EXISTS task_reader ON task (reader, current, knee);
CREATE TABLE IF NOT EXISTS answer (            -- append only: nothing here is ever changed or removed
  id INTEGER PRIMARY KEY,
  task INTEGER NOT NULL REFERENCES task,
  kl INTEGER CHECK (kl BETWEEN 0 AND 4),
  reason TEXT,                   -- why the knee cannot be graded
  undone INTEGER NOT NULL DEFAULT 0,       -- this row takes back the one it replaces
  seconds REAL NOT NULL,         -- the knee was on a visible page for so long
  at REAL NOT NULL,
  replaces INTEGER UNIQUE REFERENCES answer,
  nonce TEXT NOT NULL UNIQUE,    -- of the page's request: counts once, however often it is sent
  measurements TEXT NOT NULL DEFAULT '[]',
  findings TEXT NOT NULL DEFAULT '[]',
  comment TEXT NOT NULL DEFAULT '',
  CHECK ((kl IS NOT NULL) + (reason IS NOT NULL) + undone = 1)
);
CREATE INDEX IF NOT EXISTS answer_task ON answer (task);
CREATE TRIGGER IF NOT EXISTS answer_is_kept BEFORE DELETE ON answer
BEGIN SELECT RAISE(ABORT, 'answers are kept'); END;
CREATE TRIGGER IF NOT EXISTS answer_stays BEFORE UPDATE ON answer
BEGIN SELECT RAISE(ABORT, 'answers stay as they are'); END;
"""


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
            connection.executescript(
                f"BEGIN IMMEDIATE; {TABLES} INSERT OR IGNORE INTO setting VALUES ('id', '{secrets.token_hex(4)}');"
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
