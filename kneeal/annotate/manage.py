"""`kneeal readers`: who reads what in a run, and what a change of it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kneeal.annotate.accounts import Accounts
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.serve import named_roles, open_store
from kneeal.annotate.store import Store
from kneeal.errors import UserError


@dataclass(frozen=True)
class Change:
    """What is to change.

    Attributes:
        readers: Names of those who are to read, new or known.
        adjudicators: Names of those who are to adjudicate; named as readers too, they do both.
        remove: Names of those who are to leave.
        sign_out: Names of those whose sessions are to end.
        reads: Readers that each knee needs; None: as it is.
        repeat: Share of silent repeats; None: as it is.
    """

    readers: Sequence[str] = ()
    adjudicators: Sequence[str] = ()
    remove: Sequence[str] = ()
    sign_out: Sequence[str] = ()
    reads: int | None = None
    repeat: float | None = None


def manage_readers(run: Path, change: Change, *, dry: bool) -> str:
    """Change who reads what, and tell how it is then.

    Args:
        run: The run folder.
        change: What is to change.
        dry: Only say what the change would do.

    Raises:
        UserError: Nobody has annotated the run, there is no such reader, too few would be left, or a number is wrong.
    """
    with open_store(run) as store:
        accounts = Accounts(store)
        lines = _apply(store, accounts, change, dry=dry)
        if lines and dry:
            return "\n".join([*lines, "nothing is changed yet; add --yes"])
        return "\n".join([*lines, *_describe(store, accounts)])


def _apply(store: Store, accounts: Accounts, change: Change, *, dry: bool) -> list[str]:
    known = {account.name: account for account in accounts.all()}
    leaving = [accounts.find(name) for name in change.remove]
    ending = [accounts.find(name) for name in change.sign_out]
    old = store.plan or ReadingPlan()
    plan = ReadingPlan(
        old.reads if change.reads is None else change.reads, old.repeat if change.repeat is None else change.repeat
    )
    if plan.reads < 1 or not 0 <= plan.repeat <= 1:
        raise UserError(f"--reads {plan.reads} --repeat {plan.repeat}", "1 or more; 0 to 1", "correct the option")
    roles = {name: (account.reads, account.adjudicates) for name, account in known.items()}
    named = {name: named_roles(name, change.readers, change.adjudicators)
             for name in dict.fromkeys((*change.readers, *change.adjudicators))}  # fmt: skip
    roles |= named
    for account in leaving:
        roles.pop(account.name)
    reading, deciding = (sum(role[k] for role in roles.values()) for k in (0, 1))
    if reading < plan.reads or not deciding:
        raise UserError(
            f"{reading} who read and {deciding} who adjudicate, with {plan.reads} readings per knee",
            "as many readers as each knee needs, and somebody who decides where they differ",
            "name more with --reader or --adjudicator",
        )
    lines = []
    for name, (reads, adjudicates) in named.items():
        if (reads, adjudicates) != ((known[name].reads, known[name].adjudicates) if name in known else None):
            lines.append(f"{name}: {' and '.join(['reads'] * reads + ['adjudicates'] * adjudicates)}")
            if not dry:
                accounts.put(name, reads=reads, adjudicates=adjudicates)
    for account in leaving:
        lines.append(
            f"{account.name}: leaves; her sessions end, her open knees go to others, her answers stay and count"
        )
        if not dry:
            accounts.remove(account)
    for account in ending:
        lines.append(f"{account.name}: is signed out everywhere, and her unused links are void")
        if not dry:
            accounts.end_sessions(account)
    if plan != old:
        before, after = store.counts(), store.set_plan(plan, dry=dry)
        lines.append(f"readings per knee: {old.reads} to {plan.reads}")
        lines.append(f"silent repeats, from the next query on: {old.repeat:g} to {plan.repeat:g}")
        lines += [f"  knees {state}: {before[state]} to {after[state]}" for state in ("open", "disagreed", "settled")]
        lines.append(f"  knees that went to training stay as they are: {before['closed']}")
    return lines


def _describe(store: Store, accounts: Accounts) -> list[str]:
    plan, counts = store.plan or ReadingPlan(), store.counts()
    lines = [f"readings per knee: {plan.reads}; silent repeats: {plan.repeat:g}",
             f"knees of this query: {counts['open']} open, {counts['disagreed']} disagreed, "
             f"{counts['settled'] + counts['closed']} settled"]  # fmt: skip
    for account in accounts.all():
        n = store.read("SELECT count(*) FROM task WHERE reader = ? AND current IS NOT NULL", (account.id,))[0][0]
        signed_in = store.read("SELECT count(*) FROM session WHERE reader = ? AND expires > ?",
                               (account.id, store.clock()))[0][0]  # fmt: skip
        lines.append(f"{account.name}: {account.roles}; {n} answers; {signed_in} sessions")
    return lines
