"""Readers, the one-time links that sign them in, and their sessions. Only digests of secrets are kept."""

from __future__ import annotations

import difflib
import hashlib
import secrets
import sqlite3
import time
from dataclasses import dataclass

from kneeal.annotate.assignment import settle
from kneeal.annotate.store import Store
from kneeal.annotate.tasks import RefusedError
from kneeal.errors import UserError

LINK_SECONDS = 24 * 3600.0
SESSION_SECONDS = 14 * 24 * 3600.0
#: For so long a session is not looked up on disk again: another process may have ended it.
_TRUSTED_SECONDS = 2.0


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in.

    Attributes:
        reader: Her number.
        name: Her name.
        reads: Whether she is given knees to read.
        adjudicates: Whether she decides where readings differ.
        csrf: What her page must send along with every request.
        expires: When it ends, in seconds since 1970.
    """

    reader: int
    name: str
    reads: bool
    adjudicates: bool
    csrf: str
    expires: float


@dataclass(frozen=True)
class Account:
    """A reader of the run.

    Attributes:
        id: Number.
        name: Name, as shown in tables.
        reads: Whether she is given knees to read.
        adjudicates: Whether she decides where readings differ.
    """

    id: int
    name: str
    reads: bool
    adjudicates: bool

    @property
    def roles(self) -> str:
        """In words."""
        return " and ".join(["reads"] * self.reads + ["adjudicates"] * self.adjudicates)


class Accounts:
    """Who may come in.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._trusted: dict[str, tuple[Session, float]] = {}
        self._ended: set[str] = set()

    def put(self, name: str, *, reads: bool, adjudicates: bool) -> int:
        """Add a reader, or give a known one other roles.

        Args:
            name: Shown in tables; not a name of a patient.
            reads: Whether she is given knees to read.
            adjudicates: Whether she decides where readings differ.

        Returns:
            Her number.

        Raises:
            UserError: The name is empty or very long.
        """
        name = name.strip()
        if not 0 < len(name) <= 60 or not name.isprintable():
            raise UserError(f"a reader called {name!r}", "a name of 1 to 60 letters", "give another name")

        def change(db: sqlite3.Connection) -> int:
            row = db.execute(
                "INSERT INTO reader (name, reads, adjudicates, created) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO "
                "UPDATE SET reads = excluded.reads, adjudicates = excluded.adjudicates, removed = NULL RETURNING id",
                (name, reads, adjudicates, self._store.clock()),
            ).fetchone()
            _free(db, row["id"])
            return int(row[0])

        return self._store.write(change)

    def all(self) -> list[Account]:
        """All readers that were not removed."""
        rows = self._store.read("SELECT id, name, reads, adjudicates FROM reader WHERE removed IS NULL ORDER BY id")
        return [Account(row["id"], row["name"], bool(row["reads"]), bool(row["adjudicates"])) for row in rows]

    def find(self, name: str) -> Account:
        """A reader by name.

        Raises:
            UserError: There is none of that name; the most similar one is suggested.
        """
        known = {account.name: account for account in self.all()}
        if name.strip() in known:
            return known[name.strip()]
        similar = difflib.get_close_matches(name, known, 1, 0.5)
        raise UserError(
            f"no reader called {name!r}",
            f"one of {', '.join(known) or 'those that `kneeal readers` adds'}",
            f"write {similar[0]!r}, if that is meant" if similar else "add a reader with `kneeal readers RUN --reader`",
        )

    def remove(self, account: Account) -> None:
        """Take a reader out: her sessions and links end, her open tasks are free again, her answers stay and count."""

        def change(db: sqlite3.Connection) -> None:
            now = self._store.clock()
            db.execute("UPDATE reader SET removed = ?, reads = 0, adjudicates = 0 WHERE id = ?", (now, account.id))
            _free(db, account.id)
            _end_sessions(db, account.id)

        self._store.write(change)

    def end_sessions(self, account: Account) -> None:
        """Sign a reader out everywhere, and void her links."""
        self._store.write(lambda db: _end_sessions(db, account.id))

    def link(self, reader: int, seconds: float = LINK_SECONDS) -> str:
        """A secret that signs a reader in once; earlier ones of hers that were not used are void."""
        secret = secrets.token_urlsafe(32)

        def change(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM link WHERE reader = ? AND used IS NULL", (reader,))
            db.execute(
                "INSERT INTO link (digest, reader, expires) VALUES (?, ?, ?)",
                (_digest(secret), reader, self._store.clock() + seconds),
            )

        self._store.write(change)
        return secret

    def sign_in(self, secret: str) -> tuple[str, Session]:
        """Use a link.

        Returns:
            The session's own secret, for a cookie, and the session.

        Raises:
            RefusedError: The link is unknown, used or too old; which of these is not told.
        """
        now = self._store.clock()
        key, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)

        def change(db: sqlite3.Connection) -> None:
            used = db.execute(
                "UPDATE link SET used = ? WHERE digest = ? AND used IS NULL AND expires > ? RETURNING reader",
                (now, _digest(secret), now),
            ).fetchone()
            if used is None:
                raise RefusedError(
                    403, "a link that is not valid", "a link that was not used yet, a day old at most", "get a new one"
                )
            db.execute("DELETE FROM session WHERE expires < ?", (now,))
            db.execute(
                "INSERT INTO session (digest, reader, csrf, expires) VALUES (?, ?, ?, ?)",
                (_digest(key), used["reader"], csrf, now + SESSION_SECONDS),
            )

        self._store.write(change)
        session = self.session(key)
        if session is None:  # pragma: no cover - it was just made
            raise RuntimeError("a new session is missing")
        return key, session

    def session(self, key: str | None) -> Session | None:
        """Who a cookie belongs to, None for nobody."""
        if not key:
            return None
        digest = _digest(key)
        if digest in self._ended:
            return None
        session, until = self._trusted.get(digest, (None, 0.0))
        if session is None or time.monotonic() > until:
            rows = self._store.read(
                "SELECT reader.id, reader.name, reader.reads, reader.adjudicates, session.csrf, session.expires "
                "FROM session JOIN reader ON reader.id = session.reader WHERE session.digest = ?",
                (digest,),
            )
            if not rows:
                self._trusted.pop(digest, None)
                return None
            number, name, reads, adjudicates, csrf, expires = rows[0]
            session = Session(number, name, bool(reads), bool(adjudicates), csrf, expires)
            self._trusted[digest] = session, time.monotonic() + _TRUSTED_SECONDS
        return session if session.expires > self._store.clock() else None

    def sign_out(self, key: str) -> None:
        """End a session."""
        self._ended.add(_digest(key))  # first, so that nobody who looks it up just now brings it back
        self._store.write(lambda db: db.execute("DELETE FROM session WHERE digest = ?", (_digest(key),)))


def _free(db: sqlite3.Connection, reader: int) -> None:
    """Give what a reader has before her without a role for it to others, and wait for no silent repeat by her."""
    role = "SELECT CASE kind WHEN 'adjudication' THEN adjudicates ELSE reads END FROM reader WHERE id = task.reader"
    left = f"FROM task WHERE reader = ? AND current IS NULL AND NOT ({role})"
    # What she took back stays, with its history; it holds up nobody either.
    db.execute(
        "UPDATE knee SET taken = (SELECT count(*) FROM task WHERE task.knee = knee.id AND kind = 'first' "
        f"AND (current IS NOT NULL OR reader != ? AND later IS NULL)) WHERE id IN (SELECT knee {left})",
        (reader, reader),
    )
    db.execute(f"DELETE {left} AND NOT EXISTS (SELECT 1 FROM answer WHERE answer.task = task.id)", (reader,))
    planned = "FROM planned WHERE reader = ? AND NOT (SELECT reads FROM reader WHERE id = planned.reader)"
    for row in db.execute(f"DELETE {planned} RETURNING knee", (reader,)).fetchall():
        settle(db, row["knee"])


def _end_sessions(db: sqlite3.Connection, reader: int) -> None:
    db.execute("DELETE FROM session WHERE reader = ?", (reader,))
    db.execute("DELETE FROM link WHERE reader = ? AND used IS NULL", (reader,))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
