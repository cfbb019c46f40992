"""`kneeal readers`: who reads what in a run, and what a change of it does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kneeal.annotate.accounts import Account, Accounts
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.serve import named_roles
from kneeal.annotate.store import Store, open_store
from kneeal.errors import UserError


@dataclass(frozen=True)
class ReaderChanges:
    """Names of those whose roles change, leave or are signed out, and the new plan; None keeps a number as it is."""

    readers: Sequence[str] = ()
    adjudicators: Sequence[str] = ()
    remove: Sequence[str] = ()
    sign_out: Sequence[str] = ()
    reads: int | None = None
    repeat: float | None = None


def manage_readers(run: Path, changes: ReaderChanges, *, dry: bool) -> str:
    """Change who reads what, unless `dry`, and describe the change or how it is now.

    Raises:
        UserError: Nobody has annotated the run, there is no such reader, too few would be left, or a number is wrong.
    """
    with open_store(run) as store:
        accounts = Accounts(store)
        lines = _apply(store, accounts, changes, dry=dry)
        if lines and dry:
            return "\n".join([*lines, "nothing is changed yet; add --yes"])
        return "\n".join([*lines, *_describe(store, accounts)])


def _apply(store: Store, accounts: Accounts, changes: ReaderChanges, *, dry: bool) -> list[str]:
    known = {account.name: account for account in accounts.all()}
    leaving = [accounts.find(name) for name in changes.remove]
    ending = [accounts.find(name) for name in changes.sign_out]
    old = store.plan or ReadingPlan()
    plan = old.changed(changes.reads, changes.repeat)
    roles = {name: (account.reads, account.adjudicates) for name, account in known.items()}
    named = named_roles(changes.readers, changes.adjudicators)
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
        account = Account(0, name, reads, adjudicates)
        if name not in known or account.roles != known[name].roles:
            lines.append(f"{name}: {account.roles}")
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
