"""The annotation server without a socket, with its parts in reach."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from kneeal.annotate.accounts import Accounts
from kneeal.annotate.app import make_app
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.picture_service import Example, PictureService
from kneeal.annotate.request_models import Answer
from kneeal.annotate.security import Origin
from kneeal.annotate.store import Store
from kneeal.annotate.supervisor import RoundSupervisor
from kneeal.annotate.tasks import Task
from kneeal.data.prepared import PreparedDataset
from kneeal.exchange.pictures import Pictures

HOME = "http://127.0.0.1:8010"
NUMBERS = count()


class Desk:
    """The application with its parts in reach."""

    def __init__(
        self,
        data: Path,
        folder: Path,
        public_url: str | None = None,
        n_knees: int = 10,
        atlas: Sequence[Example] = (),
        **plan: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        dataset = PreparedDataset.open(data)
        self.store = Store(folder / "s.sqlite", timeout=0.05)
        self.store.set_plan(ReadingPlan(**plan))
        self.accounts = Accounts(self.store)
        run = folder / "run"
        run.mkdir()
        self.supervisor = RoundSupervisor(run, self.store)
        self.knees = [i for i in dataset.manifest.ids if i not in dataset.manifest.kl]
        self.store.sync(self.knees[:n_knees], {})
        self.origin = Origin.of("127.0.0.1", 8010, public_url)
        self.pictures = PictureService(Pictures(dataset, data.parent / "images"), dataset.manifest.patients)
        self.app = make_app(self.store, self.accounts, self.supervisor, self.pictures, self.origin, atlas)

    def answer(self, reader: int, task: Task, kl: int) -> None:
        """An answer past the page."""
        given = Answer(task=task.id, picture=task.picture, nonce=f"{next(NUMBERS):032d}", kl=kl)
        self.store.write(self.store.answering(reader, given))

    def browser(self, name: str | None = None, home: str = HOME, **more: Any) -> TestClient:
        client = TestClient(self.app, base_url=home, headers={"origin": home}, **more)
        if name is not None:
            reader = self.accounts.put(name, reads=name != "Zoe", adjudicates=name in ("Ann", "Zoe"))
            assert client.post("/api/sign-in", json={"secret": self.accounts.link(reader)}).status_code == 200
            client.headers["x-kneeal-csrf"] = client.get("/api/me").json()["csrf"]
        return client


def look(browser: TestClient, task: dict[str, Any], path: str = "picture") -> dict[str, Any]:
    """What comes with a picture."""
    return dict(json.loads(browser.get(f"/api/task/{task['id']}/{path}").headers["x-kneeal-picture"]))


def body(browser: TestClient, task: dict[str, Any], change: dict[str, Any] | None = None) -> dict[str, Any]:
    """An answer by a page that has drawn the picture of the task."""
    nonce, token = f"{next(NUMBERS):032d}", look(browser, task)["token"]
    return {"task": task["id"], "picture": token, "nonce": nonce, "kl": 2, "seconds": 1, **(change or {})}
