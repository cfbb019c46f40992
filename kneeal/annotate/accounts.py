"""Readers, the one-time links that sign them in, and their sessions. Only digests of secrets are kept."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass

from kneeal.annotate.store import Store
from kneeal.annotate.tasks import RefusedError
from kneeal.errors import UserError

LINK_SECONDS = 24 * 3600.0
SESSION_SECONDS = 14 * 24 * 3600.0


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in.

    Attributes:
        reader: Her number.
        name: Her name.
        adjudicates: Whether she decides where readings differ.
        csrf: What her page must send along with every change.
    """

    reader: int
    name: str
    adjudicates: bool
    csrf: str


class Accounts:
    """Who may come in.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[Session, float]] = {}
        self._ended: set[str] = set()

    def add(self, name: str, *, adjudicates: bool | None = None) -> int:
        """A reader by name, new or known.

        Args:
            name: Shown in tables; not a name of a patient.
            adjudicates: Whether she decides where readings differ; None leaves it as it is.

        Raises:
            UserError: The name is empty or very long.
        """
        name = name.strip()
        if not 0 < len(name) <= 60 or not name.isprintable():
            raise UserError(f"a reader called {name!r}", "a name of 1 to 60 letters", "give another --reader")

        def change(db: sqlite3.Connection) -> int:
            db.execute(
                "INSERT INTO reader (name, created) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
                (name, self._store.clock()),
            )
            if adjudicates is not None:
                db.execute("UPDATE reader SET adjudicates = ? WHERE name = ?", (adjudicates, name))
            return int(db.execute("SELECT id FROM reader WHERE name = ?", (name,)).fetchone()[0])

        self._known.clear()  # what she may do can have changed
        return self._store.write(change)

    def names(self) -> list[str]:
        """All readers."""
        return [row["name"] for row in self._store.read("SELECT name FROM reader ORDER BY id")]

    def adjudicators(self) -> list[str]:
        """Those who decide where readings differ."""
        return [row["name"] for row in self._store.read("SELECT name FROM reader WHERE adjudicates ORDER BY id")]

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
                "UPDATE link SET used = ? WHERE digest = ? AND used IS NULL AND expires > ?",
                (now, _digest(secret), now),
            )
            if used.rowcount != 1:
                raise RefusedError(
                    403, "a link that does not hold", "a link that was not used yet, a day old at most", "get a new one"
                )
            reader = db.execute("SELECT reader FROM link WHERE digest = ?", (_digest(secret),)).fetchone()[0]
            db.execute("DELETE FROM session WHERE expires < ?", (now,))
            db.execute(
                "INSERT INTO session (digest, reader, csrf, expires) VALUES (?, ?, ?, ?)",
                (_digest(key), reader, csrf, now + SESSION_SECONDS),
            )

        self._store.write(change)
        session = self.session(key)
        if session is None:  # pragma: no cover - it was just made
            raise RuntimeError("a new session is not there")
        return key, session

    def session(self, key: str | None) -> Session | None:
        """Who a cookie belongs to, None for nobody.

        A session is looked up on disk once: only this object ends sessions while the server runs.
        """
        if not key:
            return None
        digest, now = _digest(key), self._store.clock()
        if digest in self._ended:
            return None
        known = self._known.get(digest)
        if known is None:
            rows = self._store.read(
                "SELECT reader.id, reader.name, reader.adjudicates, session.csrf, session.expires FROM session "
                "JOIN reader ON reader.id = session.reader WHERE session.digest = ?",
                (digest,),
            )
            if not rows:
                return None
            row = rows[0]
            session = Session(row["id"], row["name"], bool(row["adjudicates"]), row["csrf"])
            known = self._known[digest] = session, row["expires"]
        session, expires = known
        return session if expires > now else None

    def sign_out(self, key: str) -> None:
        """End a session."""
        self._ended.add(_digest(key))  # first, so that nobody who looks it up just now brings it back
        self._store.write(lambda db: db.execute("DELETE FROM session WHERE digest = ?", (_digest(key),)))
        self._known.pop(_digest(key), None)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
