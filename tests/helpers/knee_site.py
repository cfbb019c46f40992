"""A run to annotate, and its server as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from helpers.commands import QUICK, done
from helpers.knees import pairs, table
from kneeal.data.prepared import write_prepared


def make_data(folder: Path, n_patients: int = 60, px: int = 300) -> Path:
    """A prepared data set and, beside it, the folder `images` with a picture of each knee. The pool has no grades."""
    rows = table(n_patients, sites="")
    n = len(rows)
    rows["path"] = [f"{k}.png" for k in range(n)]
    rows["split"] = ["val" if k < 10 else "test" if k < 20 else "train" for k in range(n)]
    rows["kl"] = [str(k % 5) if k < 20 else "" for k in range(n)]
    (folder / "images").mkdir(parents=True)
    y, x = np.mgrid[:px, :px]
    shape = (60 + 120 * np.exp(-(((x - px / 2) / (px / 4)) ** 2)) - 50 * (abs(y - px / 2) < px / 40)).astype(np.uint8)
    for k in range(n):
        picture = shape.copy()
        cv2.putText(picture, str(k), (px // 3, px // 4), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 2)
        cv2.imwrite(str(folder / "images" / f"{k}.png"), picture)
    options = {"roi_mm": 110.0, "joint_offset_mm": 0.0}
    write_prepared(folder / "data", rows, pairs(n, 16), source="folder", patch_px=16, options=options)
    return folder / "data"


def make_run(folder: Path, n_init: int = 12, *settings: str) -> Path:
    """A run whose first query is asked."""
    data = make_data(folder)
    more = [
        part
        for setting in (f"active.n_init={n_init}", f"active.budget={n_init + 8}", "training.steps=2", *settings)
        for part in ("--set", setting)
    ]
    done("ask", folder / "run", "--data", data, "--strategy", "mi_mcd", *QUICK, *more)
    return folder / "run"


def free_port() -> int:
    """A port below those that the system gives out by itself: nobody gets it while the server starts or is down."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Site:
    """`kneeal annotate` in a process of its own.

    Args:
        run: The run.
        options: Further options.
    """

    def __init__(self, run: Path, *options: str) -> None:
        self.run = run
        self.options = options
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/"
        self.links: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        command = [
            sys.executable, "-m", "kneeal", "annotate", str(self.run), "--port", str(self.port),
            "--images", str(self.run.parent / "images"), *self.options,
        ]  # fmt: skip
        self.log = (self.run.parent / "server.log").open("a")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert self.process.stdout is not None
        self.links = {}
        for line in self.process.stdout:
            found = re.match(r"  (.+?) \([a-z ]+\): http://[^#]+#(.+)$", line)
            if found:
                self.links[found[1]] = found[2]
            elif line.startswith("serving"):
                break
        for _ in range(1800):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.run.parent / "server.log").read_text()
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        """As if the power failed."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, number: int = signal.SIGINT) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(240)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class Reader:
    """Somebody who uses the server by HTTP, on one connection.

    Args:
        port: Of the server.
        secret: Of a one-time link; None: not signed in yet.
    """

    def __init__(self, port: int, secret: str | None = None) -> None:
        self.port = port
        self.csrf = self.cookie = ""
        self.connect()
        if secret is None:
            return
        status, _, headers = self.call("POST", "/api/sign-in", {"secret": secret})
        assert status == 200
        self.cookie = headers["set-cookie"].partition(";")[0]
        self.csrf = self.call("GET", "/api/me")[1]["csrf"]

    def connect(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=400)

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any, dict[str, str]]:
        headers = {"origin": f"http://127.0.0.1:{self.port}", "cookie": self.cookie, "x-kneeal-csrf": self.csrf}
        if body is not None:
            headers["content-type"] = "application/json"
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self.connection.getresponse()
        data = response.read()
        kind = response.headers.get("content-type", "")
        said = json.loads(data) if kind.startswith("application/json") else data
        return response.status, said, {name.lower(): value for name, value in response.headers.items()}

    def answer(self, task: dict[str, Any], kl: int, nonce: str) -> tuple[int, Any]:
        return self.call("POST", "/api/answer", self.body(task, kl, nonce))[:2]

    def body(self, task: dict[str, Any], kl: int, nonce: str) -> dict[str, Any]:
        """An answer by a page that has drawn the picture of the task."""
        picture = json.loads(self.call("GET", f"/api/task/{task['id']}/picture")[2]["x-kneeal-picture"])
        return {"task": task["id"], "picture": picture["token"], "nonce": nonce, "kl": kl, "seconds": 1.5}
