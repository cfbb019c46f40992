"""`kneeal ask` and `kneeal tell`: the loop with a person as the oracle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kneeal.errors import UserError, count, some
from kneeal.exchange.answers import add_reasons, read_answers, read_reasons, write_query
from kneeal.exchange.pictures import Pictures
from kneeal.files import hold_lock
from kneeal.jobs.fit import print_results
from kneeal.jobs.open_run import OpenRun, begin_run, open_run
from kneeal.jobs.process import set_up_process
from kneeal.loggers.console import Console
from kneeal.loop.active import ActiveLearningLoop
from kneeal.loop.folder import LOCK


def run_ask(
    run: Path,
    *,
    source: str | None,
    settings: Sequence[str],
    flags: Mapping[str, Any],
    images: Path | None,
    xlsx: bool,
) -> None:
    """Train and choose the query, unless that is done already, and write its files.

    The settings are those of `begin_run`.
    """
    set_up_process()
    console = Console()
    opened = begin_run(run, source, settings, flags, console)
    pictures = Pictures(opened.cohort.dataset, images)
    with hold_lock(run / LOCK):
        loop = opened.loop([console])
        query = loop.ask()
        if query is None:
            print(f"the budget is spent: {count(len(loop.state.labeled), 'knee')} graded")
            print_results(run, opened.cohort)
            return
        # Not in the round's own folder, which belongs to the loop.
        folder, reasons = run / "ask" / opened.folder.query_folder(loop.state).name, read_reasons(run)
        sheet, *others = write_query(folder, query, pictures, loop.answers, reasons, xlsx=xlsx)
    title = f"round {query.round + 1}" if loop.state.labeled else "first query"
    print(f"{title}: {count(len(query.ids), 'knee')} asked for, {len(loop.answers)} answered")
    print(f"fill in the column kl (0 to 4), or a reason in the column unreadable: {sheet}")
    for path in others:
        print(f"or use: {path}")
    print(f"then: kneeal tell {run} {sheet}")


def run_tell(run: Path, answers: Path, *, data: Path | None, as_written: bool, replace: bool, close: bool) -> None:
    """Check the answers in a file (see `read_answers`) and take them.

    With `replace`, they may correct earlier ones of the same round. With `close`, the run continues without the knees
    that are not answered, and the next query begins with them.

    Raises:
        UserError: Something is wrong with an answer; none of them is taken then.
    """
    set_up_process()
    given = read_answers(answers, as_written=as_written)
    opened = open_run(run, data=data)
    if not given.grades and not close:
        raise UserError(
            f"{answers} without an answer",
            "a grade from 0 to 4 in the column kl, or a reason in the column unreadable, in at least one row",
            "fill it in and save it; --close continues without the open knees",
        )
    with hold_lock(run / LOCK):
        tell_and_report(opened, opened.loop(), given.grades, replace=replace, close=close)
        add_reasons(opened.path, given.reasons)


def tell_and_report(
    opened: OpenRun, loop: ActiveLearningLoop, given: Mapping[str, int | None], *, replace: bool, close: bool
) -> None:
    """Give the answers to the loop, and print what changed."""
    state, known = loop.state, loop.answers
    loop.tell(given, replace=replace)
    new = [i for i in given if known.get(i, "none") != given[i]]
    if loop.state is state and close:
        loop.close()
    unreadable = f", {n} of them unreadable" if (n := sum(given[i] is None for i in new)) else ""
    earlier = f"; {n} taken before" if (n := len(given) - len(new)) else ""
    print(f"took {count(len(new), 'new answer')}{unreadable}{earlier}")
    if loop.state is not state:
        carried = f"; {count(n, 'open knee')} carried into the next query" if (n := len(loop.state.asked)) else ""
        print(f"the round is closed with {count(len(loop.state.labeled), 'knee')} graded{carried}")
        print(f"next: kneeal ask {opened.path}")
    else:
        print(f"{count(len(loop.missing), 'knee')} still to be answered: {some(loop.missing)}")
