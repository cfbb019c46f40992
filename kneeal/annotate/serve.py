"""`kneeal annotate`: open the run, print the links, serve the page."""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kneeal.annotate.accounts import LINK_SECONDS, Accounts
from kneeal.annotate.agreement import readings_table
from kneeal.annotate.schema import STORE, connect
from kneeal.annotate.security import Origin
from kneeal.annotate.store import Store
from kneeal.annotate.supervisor import RoundSupervisor
from kneeal.errors import UserError
from kneeal.exchange.pictures import Pictures
from kneeal.files import atomic_file, cannot_write, write_atomic
from kneeal.jobs.open_run import open_run
from kneeal.loop.lock import lock_run


@dataclass(frozen=True)
class ServeOptions:
    """How the page is served.

    Attributes:
        readers: Names; known ones stay.
        adjudicators: Names of those who decide where readings differ; the first reader where none is named.
        reads: Readers that each knee needs.
        repeat: Share of the knees that a reader is silently given twice.
        auto: Whether rounds start by themselves.
        enough: Share of a query that must be settled for that.
        host: Address to listen on.
        port: Port to listen on.
        public_url: Address of the proxy before it.
    """

    readers: Sequence[str] = ()
    adjudicators: Sequence[str] = ()
    reads: int = 1
    repeat: float = 0.0
    auto: bool = False
    enough: float = 1.0
    host: str = "127.0.0.1"
    port: int = 8010
    public_url: str | None = None


def serve(run: Path, options: ServeOptions, *, data: Path | None = None, images: Path | None = None) -> None:
    """Serve until interrupted.

    Args:
        run: The run folder.
        options: How.
        data: The data set, where it has moved.
        images: The folder that the data set's pictures were prepared from.

    Raises:
        UserError: The run, a name or an option is wrong, another server serves the run, or the port is taken.
    """
    _check(options)
    origin = Origin.of(options.host, options.port, options.public_url)
    opened = open_run(run, data=data)
    pictures = Pictures(opened.cohort.dataset, images)
    with lock_run(run, ".annotate.lock"):
        store = Store(run / STORE, reads=options.reads, repeat=options.repeat)
        accounts = Accounts(store)
        _print_links(accounts, options)
        _log()
        supervisor = RoundSupervisor(run, store, auto=options.auto, enough=options.enough)
        from kneeal.annotate.app import make_app

        app = make_app(store, accounts, supervisor, pictures, opened.cohort.dataset.manifest.patients, origin, run)
        if images is None:
            print("the page shows patches only; give --images DIR for whole radiographs", file=sys.stderr)
        supervisor.start()
        try:
            _run_server(app, options)
        finally:
            supervisor.stop()
            store.close()


def address(options: ServeOptions) -> str:
    """Where readers find the page, ending in a slash."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    return (options.public_url or f"http://{host}:{options.port}").rstrip("/") + "/"


def new_link(run: Path, name: str, options: ServeOptions) -> str:
    """A one-time link for a reader, also while the server runs."""
    if not (run / STORE).is_file():
        raise UserError(f"nobody has annotated {run} yet", "a run that is served", "start `kneeal annotate` first")
    store = Store(run / STORE)
    try:
        accounts = Accounts(store)
        return f"{address(options)}#{accounts.link(accounts.add(name))}"
    finally:
        store.close()


def back_up(run: Path, target: Path) -> None:
    """A whole copy of the store, also while the server runs; never over a file that is there.

    Raises:
        UserError: There is no store, the target is there, or it cannot be written.
    """
    if target.exists():
        raise UserError(f"{target} is there already", "a new file", "give another name")
    try:
        with (
            closing(connect(run / STORE, create=False)) as source,
            atomic_file(target) as temporary,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            source.backup(copy)
            if copy.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise UserError(f"the store in {run} is damaged", "a sound database", "restore an earlier backup")
    except sqlite3.OperationalError as error:
        raise cannot_write(target, OSError(str(error))) from error


def write_readings(run: Path, target: Path) -> None:
    """Every answer as CSV, also while the server runs."""
    if not (run / STORE).is_file():
        raise UserError(f"nobody has annotated {run} yet", "a run with readings", "start `kneeal annotate` first")
    store = Store(run / STORE)
    try:
        write_atomic(target, readings_table(store))
    finally:
        store.close()


def _check(options: ServeOptions) -> None:
    for found, wrong, expected in (
        (f"--reads {options.reads}", options.reads < 1, "1 reader a knee or more"),
        (f"--repeat {options.repeat}", not 0 <= options.repeat <= 1, "a share from 0 to 1"),
        (f"--enough {options.enough}", not 0 < options.enough <= 1, "a share above 0, up to 1"),
        (f"--port {options.port}", not 0 < options.port < 65536, "a port from 1 to 65535"),
    ):
        if wrong:
            raise UserError(found, expected, "correct the option")


def _print_links(accounts: Accounts, options: ServeOptions) -> None:
    names = list(dict.fromkeys([*accounts.names(), *options.readers, *options.adjudicators])) or ["reader"]
    if options.reads > len(names):
        raise UserError(
            f"--reads {options.reads} with {len(names)} reader{'s' * (len(names) > 1)} ({', '.join(names)})",
            "as many readers as each knee needs",
            "name more with --reader, or lower --reads",
        )
    deciding = set(options.adjudicators)
    first = not deciding and not accounts.adjudicators()
    for number, name in enumerate(names):
        accounts.add(name, adjudicates=True if name in deciding or (first and number == 0) else None)
    print(f"one-time links, each valid for {LINK_SECONDS / 3600:.0f} hours:")
    for name in names:
        role = " (adjudicates)" if name in accounts.adjudicators() else ""
        print(f"  {name}{role}: {address(options)}#{accounts.link(accounts.add(name))}")
    sys.stdout.flush()


def _run_server(app: object, options: ServeOptions) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=options.host,
        port=options.port,
        # A log of requests would say who looked at what when; the store keeps that, where it belongs.
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    try:
        socket = config.bind_socket()
    except SystemExit as error:
        raise UserError(
            f"cannot listen on {options.host}:{options.port}", "a free port", "give another --port, or --host"
        ) from error
    server.run(sockets=[socket])


def _log() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("kneeal.annotate").setLevel(logging.INFO)
