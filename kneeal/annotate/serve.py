"""`kneeal annotate`: open the run, print the links, serve the page."""

import logging
import signal
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import uvicorn

from kneeal.annotate.accounts import LINK_SECONDS, Accounts
from kneeal.annotate.agreement import readings_table
from kneeal.annotate.app import make_app
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.connections import BoundedProtocol
from kneeal.annotate.options import ServeOptions, named_roles
from kneeal.annotate.picture_service import PictureService, read_atlas
from kneeal.annotate.schema import PRIVATE, STORE
from kneeal.annotate.security import Origin
from kneeal.annotate.store import Store, open_store
from kneeal.annotate.supervisor import RoundSupervisor
from kneeal.errors import UserError, count
from kneeal.exchange.pictures import Pictures
from kneeal.files import atomic_file, cannot_write, check_new_file, disk_errors, hold_lock, write_atomic
from kneeal.jobs.open_run import open_run

#: Seconds in which the last answer to a query can be undone, and after which the next query is made of it.
GRACE_SECONDS = 8.0


def serve(run: Path, options: ServeOptions) -> None:
    """Serve until interrupted or terminated.

    Raises:
        UserError: The run, a name or an option is wrong, another server serves the run, or the port is taken.
    """
    if not 0 < options.enough <= 1:
        raise UserError(f"--enough {options.enough}", "a share above 0, up to 1", "correct the option")
    origin = Origin.of(options.host, options.port, options.public_url)
    atlas = read_atlas(options.atlas) if options.atlas else ()
    data = options.data
    dataset = open_run(run, data=data).cohort.dataset
    pictures = PictureService(Pictures(dataset, options.images, bits=16), dataset.manifest.patients)
    # A terminal that closes stops the server as cleanly as SIGTERM does.
    signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("kneeal.annotate").setLevel(logging.INFO)
    command = [sys.executable, "-m", "kneeal.annotate.training_process", str(run), *([str(data)] if data else [])]
    with hold_lock(run / ".annotate.lock"):
        with disk_errors(run):
            run.chmod(0o700)  # the states and answers of its rounds hold the readings too
        with closing(Store(run / STORE)) as store, _listen(options) as listening:
            accounts = Accounts(store)
            supervisor = RoundSupervisor(
                run, store, auto=options.auto, enough=options.enough, grace=GRACE_SECONDS, command=command
            )
            config = uvicorn.Config(
                make_app(store, accounts, supervisor, pictures, origin, atlas),
                http=BoundedProtocol,
                # A log of requests would say who looked at what when; the store keeps that, where it belongs.
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=5,
            )
            # Only now: a start that fails must neither settle who reads nor void the links of the one before.
            _set_up(store, accounts, options)
            print(f"one-time links, each valid for {LINK_SECONDS / 3600:.0f} hours:")
            for account in accounts.all():
                print(f"  {account.name} ({account.roles}): {options.address}#{accounts.link(account.id)}")
            print(f"serving {options.address}", flush=True)
            if options.images is None:
                print("the page shows the joint regions only; give --images DIR for radiographs", file=sys.stderr)
            supervisor.start()
            try:
                uvicorn.Server(config).run(sockets=[listening])
            finally:
                supervisor.stop()


def new_link(run: Path, name: str, options: ServeOptions) -> str:
    """A one-time link for a reader, also while the server runs.

    Raises:
        UserError: Nobody has annotated the run, or there is no such reader.
    """
    with open_store(run) as store:
        accounts = Accounts(store)
        return f"{options.address}#{accounts.link(accounts.find(name).id)}"


def back_up(run: Path, target: Path) -> int:
    """A whole copy of the store, also while the server runs; an existing file is never overwritten.

    Returns:
        Answers in the copy.

    Raises:
        UserError: Nobody has annotated the run, the target is there, or it cannot be written.
    """
    check_new_file(target)
    try:
        with (
            open_store(run) as store,
            atomic_file(target, mode=PRIVATE) as temporary,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            store.look(lambda db: db.backup(copy))
            if copy.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise UserError(f"the store in {run} is damaged", "a sound database", "restore an earlier backup")
            return int(copy.execute("SELECT count(*) FROM answer").fetchone()[0])
    except sqlite3.OperationalError as error:
        raise cannot_write(target, OSError(str(error))) from error


def write_readings(run: Path, target: Path) -> int:
    """Every answer as CSV, for its owner alone, also while the server runs; returns how many there are."""
    with open_store(run) as store:
        write_atomic(target, readings_table(store), mode=PRIVATE)
        return int(store.read("SELECT count(*) FROM answer")[0][0])


def _listen(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((options.host, options.port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise UserError(
            f"cannot listen on {options.host}:{options.port}: {str(error.strerror).partition(' (while')[0]}",
            "an address of this machine, and a free port",
            "give another --port, or --host",
        ) from error


def _set_up(store: Store, accounts: Accounts, options: ServeOptions) -> None:
    """Who reads what belongs to the run: taken from the options at the first start, compared at every later one."""
    roles = {account.name: (account.reads, account.adjudicates) for account in accounts.all()}
    old = store.plan
    plan = (old or ReadingPlan()).changed(options.reads, options.repeat)
    if old is None or not roles:
        readers = list(dict.fromkeys(options.readers or ())) or ["reader"]
        if plan.reads > len(readers):
            raise UserError(
                f"--reads {plan.reads} with {count(len(readers), 'reader')} ({', '.join(readers)})",
                "as many readers as each knee needs; one who adjudicates does not read unless named with --reader too",
                "name more with --reader, or lower --reads",
            )
        for name, (reads, adjudicates) in named_roles(readers, options.adjudicators or readers[:1]).items():
            accounts.put(name, reads=reads, adjudicates=adjudicates)
        store.set_plan(plan)
        return
    # Without --adjudicator, the first reader decided too; naming her again as a reader changes nothing.
    changed = [
        name
        for name, (reads, adjudicates) in named_roles(options.readers, options.adjudicators).items()
        if name not in roles or reads > roles[name][0] or adjudicates > roles[name][1]
    ]
    if plan != old or changed:
        raise UserError(
            f"--reads {plan.reads} --repeat {plan.repeat:g}" + "".join(f", reader {name!r}" for name in changed),
            f"the options of the first start: --reads {old.reads} --repeat {old.repeat:g}, readers {', '.join(roles)}",
            "leave these options out; `kneeal readers RUN` shows readers and changes them, and says what that does",
        )
