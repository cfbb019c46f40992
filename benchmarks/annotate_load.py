"""Twenty readers answer at once through real HTTP: is any answer lost or doubled, and how long does one take?

python benchmarks/annotate_load.py --answers 20000 --out docs/annotate-load.md
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from multiprocessing import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pandas as pd


class Timed:
    """Takes the time of the server's own part: from a request that was read to its response."""

    def __init__(self, app: object) -> None:
        self.app = app
        self.seconds: list[float] = []

    async def __call__(self, scope: dict[str, object], receive: object, send: object) -> None:
        start = time.perf_counter()
        await self.app(scope, receive, send)
        if scope.get("path") == "/api/answer":
            self.seconds.append(time.perf_counter() - start)


def serve(folder: Path, port: int, readers: int, knees: int, links: Queue, over: Event, figures: Queue) -> None:
    import uvicorn

    from kneeal.annotate.accounts import Accounts
    from kneeal.annotate.app import make_app
    from kneeal.annotate.assignment import ReadingPlan
    from kneeal.annotate.connections import BoundedProtocol
    from kneeal.annotate.picture_service import PictureService
    from kneeal.annotate.security import Origin
    from kneeal.annotate.store import Store
    from kneeal.annotate.supervisor import RoundSupervisor
    from kneeal.data.prepared import PreparedDataset, write_prepared
    from kneeal.exchange.pictures import Pictures

    ids = [f"{9000000 + k}_L" for k in range(knees)]
    rows = pd.DataFrame({"knee_id": ids, "patient_id": [i[:-2] for i in ids], "side": "L"})
    write_prepared(folder / "data", rows, np.zeros((knees, 2, 128, 128), np.uint8), source="load", options={})
    dataset = PreparedDataset.open(folder / "data")
    store = Store(folder / "s.sqlite")
    store.set_plan(ReadingPlan(reads=readers))
    store.sync(ids, {})
    accounts = Accounts(store)
    links.put([accounts.link(accounts.put(f"reader {k}", reads=True, adjudicates=False)) for k in range(readers)])
    (folder / "run").mkdir()
    supervisor = RoundSupervisor(folder / "run", store)
    origin = Origin.of("127.0.0.1", port, None)
    pictures = PictureService(Pictures(dataset), dataset.manifest.patients)
    app = Timed(make_app(store, accounts, supervisor, pictures, origin))
    begun = time.process_time()

    def report() -> None:
        over.wait()
        figures.put((time.process_time() - begun, app.seconds))

    threading.Thread(target=report, daemon=True).start()
    uvicorn.run(app, host="127.0.0.1", port=port, http=BoundedProtocol, access_log=False, log_level="warning")


def read(port: int, secret: str, answers: int, pause: float, seconds: list[float], sent: list[int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"origin": f"http://127.0.0.1:{port}", "content-type": "application/json"}

    def call(method: str, path: str, body: object = None) -> tuple[dict[str, object], http.client.HTTPResponse]:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        data = response.read()
        assert response.status == 200, data
        return json.loads(data) if "json" in response.headers["content-type"] else {}, response

    _, response = call("POST", "/api/sign-in", {"secret": secret})
    headers["cookie"] = response.headers["set-cookie"].partition(";")[0]
    headers["x-kneeal-csrf"] = str(call("GET", "/api/me")[0]["csrf"])
    task = call("GET", "/api/next")[0]["task"]
    for k in range(answers):
        _, picture = call("GET", f"/api/task/{task['id']}/picture")
        token = json.loads(picture.headers["x-kneeal-picture"])["token"]
        nonce = f"{secret[:20]}{k:08d}"
        body = {"task": task["id"], "picture": token, "nonce": nonce, "kl": k % 5, "seconds": 1.0}
        start = time.perf_counter()
        said, _ = call("POST", "/api/answer", body)
        seconds.append(time.perf_counter() - start)
        sent.append(task["id"])
        task = said["task"]
        time.sleep(pause)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--answers", type=int, default=20000)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds a reader looks at a knee")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    each = options.answers // options.readers
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        links: Queue = multiprocessing.Queue()
        figures: Queue = multiprocessing.Queue()
        over = multiprocessing.Event()
        server = multiprocessing.Process(
            target=serve, args=(Path(name), port, options.readers, each, links, over, figures), daemon=True
        )
        server.start()
        secrets = links.get(timeout=120)
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)
        seconds: list[float] = []
        sent: list[int] = []
        threads = [
            threading.Thread(target=read, args=(port, secret, each, options.pause, seconds, sent)) for secret in secrets
        ]
        start, begun = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - start
        client_cpu = time.process_time() - begun
        load = os.getloadavg()[0]
        over.set()
        server_cpu, inside = figures.get(timeout=120)
        from kneeal.annotate.store import Store

        store = Store(Path(name) / "s.sqlite")
        stored, distinct = store.read("SELECT count(*), count(DISTINCT task) FROM answer")[0]
        store.close()
        server.terminate()
        server.join()
    assert stored == distinct == len(sent) == len(set(sent)), (stored, distinct, len(sent))
    rows = "".join(
        f"| {where} | {p50:.0f} ms | {p95:.0f} ms | {p99:.0f} ms | {1000 * cpu / len(sent):.2f} ms |\n"
        for where, times, cpu in (("reader", seconds, client_cpu), ("server", inside, server_cpu))
        for p50, p95, p99 in [1000 * np.percentile(times, (50, 95, 99))]
    )
    text = (
        "# Load of the annotation server\n\n"
        f"{options.readers} readers at once, {len(sent)} answers through HTTP, each on disk before it is acknowledged; "
        f"{options.pause:g} s and one picture between an answer and the next.\n\n"
        "| answers | lost | doubled | answers per second |\n"
        "| --- | --- | --- | --- |\n"
        f"| {len(sent)} | {len(sent) - distinct} | {stored - distinct} | {len(sent) / wall:.0f} |\n\n"
        "| seen by | median | 95th percentile | 99th percentile | CPU per answer |\n"
        "| --- | --- | --- | --- | --- |\n"
        f"{rows}\n"
        "The server's own time runs from the request's head to the end of its response, the reader's until she has the "
        f"next knee. Readers and server share {os.cpu_count()} cores (load average {load:.1f}).\n"
        "Made by `make bench-annotate`.\n"
    )
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
