"""A reader who tries to be unblinded: to find what others answered, or which of her knees comes again."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the extra kneeal[annotate]")

from fastapi.testclient import TestClient
from helpers.annotate_desk import Desk, body, look
from helpers.knee_site import make_data

from kneeal.exchange.pictures import Pictures


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("knees"), n_patients=40, px=64)


def everything(browser: TestClient) -> dict[str, Any]:
    """All that the server tells a reader, without what names the knee before her."""
    said = {path: browser.get(f"/api/{path}") for path in ("next", "me", "status", "agreement", "readings.csv")}
    known: dict[str, Any] = {path: (r.status_code, r.json() if "json" in str(r.headers) else r.text)
                             for path, r in said.items()}  # fmt: skip
    text = json.dumps(known)
    for hidden in (known["me"][1].get("csrf"), (known["next"][1].get("task") or {}).get("id")):
        text = text.replace(json.dumps(hidden), '"-"') if hidden is not None else text
    return dict(json.loads(text))


def read_all(browser: TestClient, kl: int = 2) -> list[dict[str, Any]]:
    """Answer until nothing is left; every response on the way."""
    said = [browser.get("/api/next").json()]
    while said[-1]["task"] is not None:
        said.append(browser.post("/api/answer", json=body(browser, said[-1]["task"], {"kl": kl})).json())
    return said


@pytest.fixture
def desk(data: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(data, tmp_path, **request.param)
    yield desk
    desk.store.close()


two_readers = pytest.mark.parametrize("desk", [{"reads": 2}], indirect=True)


@two_readers
@pytest.mark.parametrize("name", ["Ben", "Ann"])  # Ann also adjudicates
def test_answering_looking_and_undoing_tells_nothing_of_another(desk: Desk, name: str) -> None:
    """The other reader gave 2 to every knee. Whatever is tried, what she sees is the same for each of her grades."""
    read_all(desk.browser("Cleo"))
    browser = desk.browser(name)
    task = browser.get("/api/next").json()["task"]
    seen = []
    for kl in range(5):
        assert browser.post("/api/answer", json=body(browser, task, {"kl": kl})).status_code == 200
        seen.append(everything(browser))
        undone = browser.post("/api/undo", json={"nonce": f"{kl:020d}"}).json()
        assert undone["task"]["id"] == task["id"]
    paces = {json.dumps(s, sort_keys=True) for s in seen}
    assert len(paces) == 1


@two_readers
def test_the_last_knee_tells_nothing_either(desk: Desk) -> None:
    read_all(desk.browser("Cleo"))
    ben = desk.browser("Ben")
    read_all(ben)
    seen = []
    for kl in range(5):
        task = ben.post("/api/undo", json={"nonce": f"u{kl:020d}"}).json()["task"]
        last = ben.post("/api/answer", json=body(ben, task, {"kl": kl})).json()
        seen.append(json.dumps([last, everything(ben)]))
    assert len(set(seen)) == 1


@two_readers
def test_who_reads_and_decides_commits_herself_first(desk: Desk) -> None:
    """One attempt: the first adjudication, or a look at the agreement, makes all her readings stand."""
    read_all(desk.browser("Cleo"))
    ann = desk.browser("Ann")
    for path in ("agreement", "readings.csv"):
        assert ann.get(f"/api/{path}").status_code == 409
    said = ann.get("/api/next").json()
    while said["task"] is not None and not said["task"]["adjudication"]:
        kl = 3 if said["left"] == 5 else 2
        said = ann.post("/api/answer", json=body(ann, said["task"], {"kl": kl})).json()
    assert said["task"]["grades"] == [2, 3]
    refused = ann.post("/api/undo", json={"nonce": "u" * 20})
    assert refused.status_code == 409 and "you saw those of others" in refused.json()["error"]


@two_readers
def test_who_reads_and_decides_is_told_no_numbers_before_hers_stand(desk: Desk) -> None:
    """All readings are in, and hers can still be taken back."""
    ann, cleo = desk.browser("Ann"), desk.browser("Cleo")
    read_all(ann)
    read_all(cleo, kl=3)
    told = [ann.get("/api/status").json(), ann.get("/api/me").json()["status"]]
    assert not any({"settled", "disagreed"} & said.keys() for said in told)
    assert ann.get("/api/next").json()["task"]["adjudication"]
    assert ann.get("/api/status").json()["disagreed"] == 10
    assert ann.post("/api/undo", json={"nonce": "u" * 20}).status_code == 409


@two_readers
def test_an_adjudicator_is_given_no_first_readings(desk: Desk) -> None:
    zoe = desk.browser("Zoe")
    said = zoe.get("/api/next").json()
    assert said["task"] is None and said["left"] == 0
    assert desk.store.read("SELECT count(*) FROM task")[0][0] == 0  # and her look holds up no knee


@pytest.mark.parametrize("desk", [{"repeat": 0.3}], indirect=True)
def test_a_silent_repeat_looks_like_a_first_reading(desk: Desk) -> None:
    ben = desk.browser("Ben")
    n = desk.store.progress(1).left
    said = [ben.get("/api/next").json()]
    assert said[0]["left"] == 13 and n == 10  # planned when she begins: 10 knees and 3 again
    shapes, ids, pictures, predictions = set(), [], [], set()
    while (task := said[-1]["task"]) is not None:
        shapes.add(json.dumps([sorted(task), task["adjudication"], task["grades"]]))
        ids.append(task["id"])
        picture = look(ben, task)
        pictures.append(picture["token"])
        shapes.add(json.dumps(sorted(picture)))
        said.append(ben.post("/api/answer", json=body(ben, task)).json())
        asked = ben.post(f"/api/task/{task['id']}/prediction", json={})
        predictions.add((asked.status_code, asked.text))
    assert [s["left"] for s in said] == list(range(13, -1, -1))  # falls by one with each answer, whatever it was
    assert [s["done"] for s in said] == list(range(14))
    assert len(shapes) == 2 and len(predictions) == 1
    assert len(set(ids)) == len(set(pictures)) == 13
    assert ids != sorted(ids)  # numbers tell nothing of the order in which tasks were made


@pytest.mark.parametrize("desk", [{"repeat": 0.3}], indirect=True)
def test_a_silent_repeat_takes_as_long_as_a_first_reading(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its picture is read again: one that came at once would give it away."""
    read: list[str] = []
    from_disk = Pictures.__getitem__
    monkeypatch.setattr(Pictures, "__getitem__", lambda self, knee: (read.append(knee), from_disk(self, knee))[1])
    ben = desk.browser("Ben")
    task, waits = ben.get("/api/next").json()["task"], []
    while task is not None:
        before = len(read)
        look(ben, task)
        waits.append(len(read) - before)
        task = ben.post("/api/answer", json=body(ben, task)).json()["task"]
    assert waits == [1] * 13


def test_repeats_are_mixed_with_new_knees_in_a_short_query(data: Path, tmp_path: Path) -> None:
    random.seed(0)
    at_end, places = 0, []
    for trial in range(10):
        desk = Desk(data, tmp_path / str(trial), repeat=0.3, n_knees=15)
        reader = desk.accounts.put("Ben", reads=True, adjudicates=False)
        kinds = []
        while (task := desk.store.next(reader)) is not None:
            kinds.append((task.kind, task.knee_id))
            desk.answer(reader, task, 2)
        repeats = [k for k, (kind, _) in enumerate(kinds) if kind == "repeat"]
        firsts = {knee: k for k, (kind, knee) in enumerate(kinds) if kind == "first"}
        assert min(k - firsts[kinds[k][1]] for k in repeats) >= 3
        places += repeats
        at_end += kinds[-1][0] == "repeat" and kinds[-2][0] == "repeat"
        desk.store.close()
    assert min(places) <= 8 and at_end <= 5  # no block that is known by its place


@two_readers
def test_readings_stand_before_a_training_can_tell_whether_they_agree(desk: Desk) -> None:
    """Where training starts by itself, she cannot try one grade after another and watch whether it starts."""
    desk.supervisor.auto, desk.supervisor.grace = True, 1000.0
    desk.supervisor.pending = replace(desk.supervisor.pending, ids=tuple(desk.knees))
    read_all(desk.browser("Cleo"))
    ben = desk.browser("Ben")
    read_all(ben, kl=3)
    assert not desk.supervisor.readings_stand
    desk.supervisor.grace = 0.0
    refused = ben.post("/api/undo", json={"nonce": "u" * 20})
    assert refused.status_code == 409 and "all readings are in" in refused.text
