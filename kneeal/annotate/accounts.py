"""Readers, the one-time links that sign them in, and their sessions. Only digests of secrets are kept."""

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass

from kneeal.annotate.assignment import settle
from kneeal.annotate.store import Store
from kneeal.annotate.tasks import RefusedError
from kneeal.errors import UserError, unknown_name

LINK_SECONDS = 24 * 3600.0
SESSION_SECONDS = 14 * 24 * 3600.0


@dataclass(frozen=True)
class Account:
    """A reader of the run."""

    id: int  #: Number.
    name: str  #: Name, as shown in tables.
    reads: bool  #: Whether she is given knees to read.
    adjudicates: bool  #: Whether she decides where readings differ.

    @property
    def roles(self) -> str:
        """In words."""
        return " and ".join(["reads"] * self.reads + ["adjudicates"] * self.adjudicates)


@dataclass(frozen=True)
class Session(Account):
    """A reader who is signed in."""

    csrf: str  #: What her page must send along with every request.


class Accounts:
    """Accounts, one-time links and sessions, kept in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, name: str, *, reads: bool, adjudicates: bool) -> int:
        """Add a reader, or give a known one other roles; the name is shown in tables. Returns her number.

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
            UserError: Nobody has that name; the most similar one is suggested.
        """
        known = {account.name: account for account in self.all()}
        if name.strip() in known:
            return known[name.strip()]
        raise unknown_name("reader", name, known, "add a reader with `kneeal readers RUN --reader`")

    def remove(self, account: Account) -> None:
        """Remove a reader: her sessions and links end, her open tasks are free again, her answers stay and count."""

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
        """A secret that signs a reader in once; her earlier unused ones become void."""
        secret = secrets.token_urlsafe(32)

        def change(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM link WHERE reader = ? AND used IS NULL", (reader,))
            db.execute(
                "INSERT INTO link (digest, reader, expires) VALUES (?, ?, ?)",
                (_digest(secret), reader, self._store.clock() + seconds),
            )

        self._store.write(change)
        return secret

    def sign_in(self, secret: str) -> tuple[str, int]:
        """Use a link.

        Returns:
            The secret of the new session, for a cookie, and the number of the reader.

        Raises:
            RefusedError: The link is unknown, used or too old; which of these is not disclosed.
        """
        now = self._store.clock()
        key, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)

        def change(db: sqlite3.Connection) -> int:
            used = db.execute(
                "UPDATE link SET used = ? WHERE digest = ? AND used IS NULL AND expires > ? RETURNING reader",
                (now, _digest(secret), now),
            ).fetchone()
            if used is None:
                raise RefusedError(403, "a link that is not valid", "a link works once, within a day", "get a new one")
            db.execute("DELETE FROM session WHERE expires < ?", (now,))
            db.execute(
                "INSERT INTO session (digest, reader, csrf, expires) VALUES (?, ?, ?, ?)",
                (_digest(key), used["reader"], csrf, now + SESSION_SECONDS),
            )
            return int(used["reader"])

        return key, self._store.write(change)

    def session(self, key: str | None) -> Session | None:
        """Who a cookie belongs to, None for nobody; read anew each time, since another process may end a session."""
        rows = self._store.read(
            "SELECT reader.id, name, reads, adjudicates, csrf FROM session JOIN reader ON reader.id = session.reader "
            "WHERE digest = ? AND expires > ?",
            (_digest(key or ""), self._store.clock()),
        )
        return Session(rows[0][0], rows[0][1], bool(rows[0][2]), bool(rows[0][3]), rows[0][4]) if rows else None

    def sign_out(self, key: str) -> None:
        """End a session."""
        self._store.write(lambda db: db.execute("DELETE FROM session WHERE digest = ?", (_digest(key),)))


def _free(db: sqlite3.Connection, reader: int) -> None:
    """Release the tasks that a reader no longer has the role for, and drop her planned silent repeats."""
    role = "SELECT CASE kind WHEN 'adjudication' THEN adjudicates ELSE reads END FROM reader WHERE id = task.reader"
    left = f"FROM task WHERE reader = ? AND current IS NULL AND NOT ({role})"
    # What she took back stays in the history, but keeps nobody waiting.
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
