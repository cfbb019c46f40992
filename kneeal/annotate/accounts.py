"""Readers, the one-time links that sign them in, and their sessions; `kneeal readers` shows and changes them.

Only digests of secrets are kept.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kneeal.annotate.assignment import ReadingPlan, settle
from kneeal.annotate.database import transaction
from kneeal.annotate.options import ReaderChanges, named_roles
from kneeal.annotate.store import Store, open_store
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
        self._store, self.write = store, store.write

    @transaction
    def put(self, db: sqlite3.Connection, name: str, *, reads: bool, adjudicates: bool) -> int:
        """Add a reader, or give a known one other roles; the name is shown in tables. Returns her number.

        Raises:
            UserError: The name is empty or very long.
        """
        name = name.strip()
        if not 0 < len(name) <= 60 or not name.isprintable():
            raise UserError(f"a reader called {name!r}", "1 to 60 printable characters", "give another name")
        row = db.execute(
            "INSERT INTO reader (name, reads, adjudicates, created) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO "
            "UPDATE SET reads = excluded.reads, adjudicates = excluded.adjudicates, removed = NULL RETURNING id",
            (name, reads, adjudicates, self._store.clock()),
        ).fetchone()
        _free(db, row["id"])
        return int(row["id"])

    def all(self) -> list[Account]:
        """All readers that were not removed."""
        rows = self._store.read("SELECT id, name, reads, adjudicates FROM reader WHERE removed IS NULL ORDER BY id")
        return [Account(*row) for row in rows]

    def find(self, name: str) -> Account:
        """A reader by name.

        Raises:
            UserError: Nobody has that name; the most similar one is suggested.
        """
        known = {account.name: account for account in self.all()}
        if found := known.get(name.strip()):
            return found
        raise unknown_name("reader", name, known, "add a reader with `kneeal readers RUN --reader`")

    @transaction
    def remove(self, db: sqlite3.Connection, account: Account) -> None:
        """Remove a reader: her sessions and links end, her open tasks are free again, her answers stay and count."""
        now = self._store.clock()
        db.execute("UPDATE reader SET removed = ?, reads = 0, adjudicates = 0 WHERE id = ?", (now, account.id))
        _free(db, account.id)
        _end_sessions(db, account.id)

    @transaction
    def link(self, db: sqlite3.Connection, reader: int) -> str:
        """A secret that signs a reader in once; her earlier unused ones become void."""
        secret = secrets.token_urlsafe(32)
        db.execute("DELETE FROM link WHERE reader = ? AND used IS NULL", (reader,))
        db.execute(
            "INSERT INTO link (digest, reader, expires) VALUES (?, ?, ?)",
            (_digest(secret), reader, self._store.clock() + LINK_SECONDS),
        )
        return secret

    @transaction
    def sign_in(self, db: sqlite3.Connection, secret: str) -> tuple[str, int]:
        """Use a link.

        Returns:
            The secret of the new session, for a cookie, and the number of the reader.

        Raises:
            RefusedError: The link is unknown, used or too old; which of these is not disclosed.
        """
        now = self._store.clock()
        key, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
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
        return key, int(used["reader"])

    def session(self, key: str | None) -> Session | None:
        """Who a cookie belongs to, None for nobody; read each time, since another process may end a session."""
        rows = self._store.read(
            "SELECT reader.id, name, reads, adjudicates, csrf FROM session JOIN reader ON reader.id = session.reader "
            "WHERE digest = ? AND expires > ?",
            (_digest(key or ""), self._store.clock()),
        )
        return Session(*rows[0]) if rows else None

    def sign_out(self, key: str) -> None:
        """End a session."""
        self.write(lambda db: db.execute("DELETE FROM session WHERE digest = ?", (_digest(key),)))


def manage_readers(run: Path, changes: ReaderChanges, *, dry: bool) -> str:
    """Change who reads what, unless `dry`, and describe the change or how it is now.

    Raises:
        UserError: Nobody has annotated the run, there is no such reader, too few would be left, or a number is wrong.
    """
    with open_store(run) as store:
        accounts = Accounts(store)
        old = store.plan or ReadingPlan()
        plan = old.changed(changes.reads, changes.repeat)
        steps = _steps(accounts, changes, plan.reads)
        lines = [line for line, _ in steps]
        if not dry:
            for _, step in steps:
                step()
        if plan != old:
            before, after = store.counts(), store.set_plan(plan, dry=dry)
            lines.append(f"readings per knee: {old.reads} to {plan.reads}")
            lines.append(f"silent repeats, from the next query on: {old.repeat:g} to {plan.repeat:g}")
            lines += [f"  knees {name}: {before[name]} to {after[name]}" for name in ("open", "disagreed", "settled")]
            lines.append(f"  knees that went to training stay as they are: {before['closed']}")
        if lines and dry:
            return "\n".join([*lines, "nothing is changed yet; add --yes"])
        counts = store.counts()
        lines.append(f"readings per knee: {plan.reads}; silent repeats: {plan.repeat:g}")
        lines.append(
            f"knees of this query: {counts['open']} open, {counts['disagreed']} disagreed, "
            f"{counts['settled'] + counts['closed']} settled"
        )
        for account in accounts.all():
            answers, sessions = store.read(
                "SELECT (SELECT count(*) FROM task WHERE reader = :reader AND current IS NOT NULL), "
                "(SELECT count(*) FROM session WHERE reader = :reader AND expires > :now)",
                {"reader": account.id, "now": store.clock()},
            )[0]
            lines.append(f"{account.name}: {account.roles}; {answers} answers; {sessions} sessions")
        return "\n".join(lines)


def _steps(accounts: Accounts, changes: ReaderChanges, n_reads: int) -> list[tuple[str, Callable[[], object]]]:
    """What changes for each person, in words and as what does it, with `n_reads` readings per knee afterwards."""
    known = {account.name: account for account in accounts.all()}
    leaving = [accounts.find(name) for name in changes.remove or ()]
    named = {
        name: Account(0, name, reads, adjudicates)
        for name, (reads, adjudicates) in named_roles(changes.readers, changes.adjudicators).items()
    }
    left = [account for name, account in (known | named).items() if name not in {gone.name for gone in leaving}]
    reading, deciding = sum(account.reads for account in left), sum(account.adjudicates for account in left)
    if reading < n_reads or not deciding:
        raise UserError(
            f"readers: {reading}, adjudicators: {deciding}, with {n_reads} readings per knee",
            "as many readers as each knee needs, and at least one adjudicator",
            "name more with --reader or --adjudicator",
        )
    steps: list[tuple[str, Callable[[], object]]] = [
        (f"{name}: {new.roles}", partial(accounts.put, name, reads=new.reads, adjudicates=new.adjudicates))
        for name, new in named.items()
        if name not in known or new.roles != known[name].roles
    ]
    for account in leaving:
        what = "leaves; her sessions end, her open knees go to others, her answers stay and count"
        steps.append((f"{account.name}: {what}", partial(accounts.remove, account)))
    for account in map(accounts.find, changes.sign_out or ()):
        what = "is signed out everywhere, and her unused links are void"
        steps.append((f"{account.name}: {what}", partial(accounts.write, partial(_end_sessions, reader=account.id))))
    return steps


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
    """Sign a reader out everywhere, and void her links."""
    db.execute("DELETE FROM session WHERE reader = ?", (reader,))
    db.execute("DELETE FROM link WHERE reader = ? AND used IS NULL", (reader,))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
