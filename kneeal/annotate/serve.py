"""`kneeal annotate`: open the run, print the links, serve the page."""

import logging
import signal
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneeal.annotate.accounts import LINK_SECONDS, Accounts
from kneeal.annotate.agreement import readings_table
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.atlas import Atlas
from kneeal.annotate.picture_service import PictureService
from kneeal.annotate.schema import PRIVATE, STORE, connect
from kneeal.annotate.security import Origin
from kneeal.annotate.store import Store, open_store
from kneeal.annotate.supervisor import RoundSupervisor
from kneeal.errors import UserError
from kneeal.exchange.pictures import Pictures
from kneeal.files import atomic_file, cannot_write, check_new_file, disk_errors, hold, write_atomic
from kneeal.jobs.open_run import open_run

#: Seconds in which the last answer to a query can be undone, and after which the next query is made of it.
GRACE_SECONDS = 8.0


@dataclass(frozen=True)
class ServeOptions:
    """How the page is served."""

    readers: Sequence[str] = ()  #: Names of those who read, at the first start.
    #: Names of those who decide where readings differ; the first reader where none is named.
    adjudicators: Sequence[str] = ()
    reads: int | None = None  #: Readers that each knee needs; None: as the run has it.
    repeat: float | None = None  #: Share of the knees that a reader is silently given twice; None: as the run has it.
    auto: bool = False  #: Whether training starts by itself.
    enough: float = 1.0  #: Share of a query that must be settled for that.
    host: str = "127.0.0.1"  #: Address to listen on.
    port: int = 8010  #: Port to listen on.
    public_url: str | None = None  #: Address of the proxy before it.
    atlas: Path | None = None  #: Folder with the site's own examples of the grades.


def serve(run: Path, options: ServeOptions, *, data: Path | None = None, images: Path | None = None) -> None:
    """Serve until interrupted or terminated.

    Raises:
        UserError: The run, a name or an option is wrong, another server serves the run, or the port is taken.
    """
    from kneeal.annotate.app import make_app

    _check(options)
    origin = Origin.of(options.host, options.port, options.public_url)
    atlas = Atlas(options.atlas)
    opened = open_run(run, data=data)
    dataset = opened.cohort.dataset
    pictures = PictureService(Pictures(dataset, images, bits=16), dataset.manifest.patients)
    if hasattr(signal, "SIGHUP"):  # a terminal that closes stops the server as cleanly as SIGTERM does
        signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    command = [sys.executable, "-m", "kneeal.annotate.child", str(run), *([str(data)] if data else [])]
    with hold(run / ".annotate.lock"):
        with disk_errors(run):
            run.chmod(0o700)  # the states and answers of its rounds hold the readings too
        store = Store(run / STORE)
        try:
            accounts = Accounts(store)
            _log()
            supervisor = RoundSupervisor(
                run, store, auto=options.auto, enough=options.enough, grace=GRACE_SECONDS, command=command
            )
            app = make_app(store, accounts, supervisor, pictures, origin, run, atlas)
            server, socket = _bind(app, options)
            # Only now: a start that fails must neither settle who reads nor void the links of the one before.
            _set_up(store, accounts, options)
            _print_links(accounts, options)
            if images is None:
                print("the page shows the joint regions only; give --images DIR for radiographs", file=sys.stderr)
            supervisor.start()
            try:
                server.run(sockets=[socket])
            finally:
                supervisor.stop()
        finally:
            store.close()


def address(options: ServeOptions) -> str:
    """Where readers find the page, ending in a slash."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    return (options.public_url or f"http://{host}:{options.port}").rstrip("/") + "/"


def new_link(run: Path, name: str, options: ServeOptions) -> str:
    """A one-time link for a reader, also while the server runs.

    Raises:
        UserError: Nobody has annotated the run, or there is no such reader.
    """
    with open_store(run) as store:
        accounts = Accounts(store)
        return f"{address(options)}#{accounts.link(accounts.find(name).id)}"


def back_up(run: Path, target: Path) -> None:
    """A whole copy of the store, also while the server runs; never over a file that is there.

    Raises:
        UserError: There is no store, the target is there, or it cannot be written.
    """
    check_new_file(target)
    try:
        with (
            closing(connect(run / STORE, create=False)) as source,
            atomic_file(target, mode=PRIVATE) as temporary,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            source.backup(copy)
            if copy.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise UserError(f"the store in {run} is damaged", "a sound database", "restore an earlier backup")
    except sqlite3.OperationalError as error:
        raise cannot_write(target, OSError(str(error))) from error


def write_readings(run: Path, target: Path) -> None:
    """Every answer as CSV, for its owner alone, also while the server runs."""
    with open_store(run) as store:
        write_atomic(target, readings_table(store), mode=PRIVATE)


def _check(options: ServeOptions) -> None:
    ReadingPlan().changed(options.reads, options.repeat)
    if not 0 < options.enough <= 1:
        raise UserError(f"--enough {options.enough}", "a share above 0, up to 1", "correct the option")
    if not 0 < options.port < 65536:
        raise UserError(f"--port {options.port}", "a port from 1 to 65535", "correct the option")


def _set_up(store: Store, accounts: Accounts, options: ServeOptions) -> None:
    """Who reads what belongs to the run: taken from the options at the first start, compared at every later one."""
    if store.plan is None or not accounts.all():
        _set_up_first(store, accounts, options)
        return
    plan = store.plan.changed(options.reads, options.repeat)
    roles = {account.name: (account.reads, account.adjudicates) for account in accounts.all()}
    # Without --adjudicator, the first reader decided too; naming her again as a reader changes nothing.
    changed = [
        name
        for name, (reads, adjudicates) in named_roles(options.readers, options.adjudicators).items()
        if name not in roles or reads > roles[name][0] or adjudicates > roles[name][1]
    ]
    if plan != store.plan or changed:
        raise UserError(
            f"--reads {plan.reads} --repeat {plan.repeat:g}" + "".join(f", reader {name!r}" for name in changed),
            f"the options of the first start: --reads {store.plan.reads} --repeat {store.plan.repeat:g}, "
            f"readers {', '.join(roles)}",
            "leave these options out; `kneeal readers RUN` shows readers and changes them, and says what that does",
        )


def _set_up_first(store: Store, accounts: Accounts, options: ServeOptions) -> None:
    plan = ReadingPlan().changed(options.reads, options.repeat)
    readers = list(dict.fromkeys(options.readers)) or ["reader"]
    if plan.reads > len(readers):
        raise UserError(
            f"--reads {plan.reads} with {len(readers)} reader{'s' * (len(readers) > 1)} ({', '.join(readers)})",
            "as many readers as each knee needs; one who adjudicates does not read unless named with --reader too",
            "name more with --reader, or lower --reads",
        )
    for name, (reads, adjudicates) in named_roles(readers, options.adjudicators or readers[:1]).items():
        accounts.put(name, reads=reads, adjudicates=adjudicates)
    store.set_plan(plan)


def named_roles(readers: Sequence[str], adjudicators: Sequence[str]) -> dict[str, tuple[bool, bool]]:
    """Whether each person reads, and whether she adjudicates: what she is named as, and nothing else."""
    return {name: (name in readers, name in adjudicators) for name in (*readers, *adjudicators)}


def _print_links(accounts: Accounts, options: ServeOptions) -> None:
    print(f"one-time links, each valid for {LINK_SECONDS / 3600:.0f} hours:")
    for account in accounts.all():
        print(f"  {account.name} ({account.roles}): {address(options)}#{accounts.link(account.id)}")
    print(f"serving {address(options)}", flush=True)


def _bind(app: object, options: ServeOptions) -> tuple[Any, Any]:
    import uvicorn

    from kneeal.annotate.connections import BoundedProtocol

    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=options.host,
        port=options.port,
        http=BoundedProtocol,
        # A log of requests would say who looked at what when; the store keeps that, where it belongs.
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    try:
        return uvicorn.Server(config), config.bind_socket()
    except SystemExit as error:
        raise UserError(
            f"cannot listen on {options.host}:{options.port}",
            "an address of this machine, and a free port",
            "give another --port, or --host",
        ) from error


def _log() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("kneeal.annotate").setLevel(logging.INFO)
