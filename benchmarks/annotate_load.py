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
from pathlib import Path

import numpy as np
import pandas as pd


def serve(folder: Path, port: int, readers: int, knees: int, links: multiprocessing.Queue) -> None:
    import uvicorn

    from kneeal.annotate.app import make_app
    from kneeal.annotate.people import People
    from kneeal.annotate.rounds import Rounds
    from kneeal.annotate.security import Origin
    from kneeal.annotate.store import Store
    from kneeal.data.prepared import PreparedDataset, write_prepared
    from kneeal.exchange.pictures import Pictures

    ids = [f"{9000000 + k}_L" for k in range(knees)]
    rows = pd.DataFrame({"knee_id": ids, "patient_id": [i[:-2] for i in ids], "side": "L"})
    write_prepared(folder / "data", rows, np.zeros((knees, 2, 128, 128), np.uint8), source="load", options={})
    dataset = PreparedDataset.open(folder / "data")
    store = Store(folder / "s.sqlite", reads=readers)
    store.sync(0, ids, {})
    people = People(store)
    links.put([people.link(people.add(f"reader {k}")) for k in range(readers)])
    (folder / "run").mkdir()
    rounds = Rounds(folder / "run", store)
    origin = Origin.of("127.0.0.1", port, None)
    app = make_app(store, people, rounds, Pictures(dataset), dataset.manifest.patients, origin, folder / "run")
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


def read(port: int, secret: str, answers: int, pause: float, seconds: list[float], sent: list[int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"origin": f"http://127.0.0.1:{port}", "content-type": "application/json"}

    def call(method: str, path: str, body: object = None) -> tuple[dict[str, object], http.client.HTTPResponse]:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        said = json.loads(response.read())
        assert response.status == 200, said
        return said, response

    _, response = call("POST", "/api/enter", {"secret": secret})
    headers["cookie"] = response.headers["set-cookie"].partition(";")[0]
    headers["x-kneeal-csrf"] = str(call("GET", "/api/me")[0]["csrf"])
    task = call("GET", "/api/next")[0]["task"]
    for k in range(answers):
        body = {"task": task["id"], "seen": task["seen"], "nonce": f"{secret[:20]}{k:08d}", "kl": k % 5, "seconds": 1.0}
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
        links: multiprocessing.Queue = multiprocessing.Queue()
        server = multiprocessing.Process(
            target=serve, args=(Path(name), port, options.readers, each, links), daemon=True
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
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - start
        load = os.getloadavg()[0]
        from kneeal.annotate.store import Store

        store = Store(Path(name) / "s.sqlite")
        stored, distinct = store.read("SELECT count(*), count(DISTINCT task) FROM answer")[0]
        store.close()
        server.terminate()
        server.join()
    assert stored == distinct == len(sent) == len(set(sent)), (stored, distinct, len(sent))
    p50, p95, p99 = (1000 * np.percentile(seconds, q) for q in (50, 95, 99))
    text = (
        "# Load of the annotation server\n\n"
        f"{options.readers} readers at once, {len(sent)} answers through HTTP, each on disk before it is acknowledged; "
        f"{options.pause:g} s between an answer and the next.\n\n"
        "| answers | lost | doubled | answers a second | median | 95th percentile | 99th percentile |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        f"| {len(sent)} | {len(sent) - distinct} | {stored - distinct} | {len(sent) / wall:.0f} | {p50:.0f} ms | "
        f"{p95:.0f} ms | {p99:.0f} ms |\n\n"
        f"Client and server together on {os.cpu_count()} cores that also did other work (load average {load:.1f}).\n"
        "Made by `make bench-annotate`.\n"
    )
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
