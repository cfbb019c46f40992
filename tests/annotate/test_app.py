"""The web application without a socket: who gets in, what is said, what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the page needs the extra kneeal[annotate]")

from fastapi.testclient import TestClient
from helpers.annotate_desk import HOME, NUMBERS, Desk, body, look
from helpers.knee_site import make_data

from kneeal.annotate.agreement import readings_table
from kneeal.annotate.picture_service import read_atlas
from kneeal.annotate.security import HEADERS, Origin
from kneeal.data.prepared import PreparedDataset
from kneeal.errors import UserError
from kneeal.exchange.pictures import Pictures


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("knees"), n_patients=25, px=200)


@pytest.fixture
def desk(data: Path, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(data, tmp_path)
    yield desk
    desk.store.close()


def test_a_reading(desk: Desk) -> None:
    ann = desk.browser("Ann")
    said = ann.get("/api/next").json()
    assert (said["done"], said["left"]) == (0, 10)
    picture = look(ann, said["task"])
    assert picture["full"] and picture["mm_per_px"] == pytest.approx(110 / 200)
    following = ann.post("/api/answer", json=body(ann, said["task"], {"measurements": [
        {"x0": 0, "y0": 0, "x1": 3, "y1": 4, "mm": 2.7}
    ]})).json()  # fmt: skip
    assert (following["done"], following["left"], following["pace"]) == (1, 9, 1.0)
    assert following["task"]["id"] != said["task"]["id"]
    back = ann.post("/api/undo", json={"nonce": "u" * 20}).json()
    assert back["task"]["id"] == said["task"]["id"] and back["left"] == 10


def test_no_identifier_leaves_the_server(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    ann = desk.browser("Ann")
    said = ann.get("/api/next")
    number = said.json()["task"]["id"]
    pages = [said, ann.get("/"), ann.get("/api/me"), ann.get("/api/status")]
    pages += [ann.post("/api/answer", json=body(ann, said.json()["task"])), ann.get("/api/agreement")]
    texts = [page.text + str(page.headers) for page in pages] + [caplog.text]
    for knee in desk.knees[:10]:
        assert not any(knee in text or knee.partition("_")[0] in text for text in texts)
    picture = ann.get(f"/api/task/{number}/picture")
    assert picture.headers["content-type"] == "image/png" and b"tEXt" not in picture.content
    assert "filename" not in str(picture.headers)


def test_damaged_files_of_a_round_hold_up_no_reader(desk: Desk, tmp_path: Path) -> None:
    row = {"n_labeled": 10, "test_balanced_accuracy": 0.5}
    files = ("{", '{"row": 3}', json.dumps({"row": {**row, "test_balanced_accuracy": float("nan")}}))
    for number, text in enumerate((*files, json.dumps({"row": row}))):
        folder = tmp_path / "run" / "rounds" / f"{number:03d}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(text)
        (folder / "query_predictions.csv").write_bytes(b"knee_id,p0\n" + desk.knees[0].encode() + b",\xff\n")
    ann = desk.browser("Ann")
    task = ann.get("/api/next").json()["task"]
    for _ in range(10):
        said = ann.post("/api/answer", json=body(ann, task)).json()
        task = said["task"]
    assert task is None and said["status"]["accuracy"] == [[10, 0.5]]
    number = desk.store.read("SELECT id FROM task WHERE knee = 1")[0][0]
    assert ann.post(f"/api/task/{number}/prediction", json={}).json() == {"probabilities": None}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/me"), ("GET", "/api/next"), ("GET", "/api/status"), ("GET", "/api/task/1/picture"),
        ("GET", "/api/task/1/other"), ("GET", "/api/atlas/1"), ("GET", "/api/agreement"),
        ("GET", "/api/readings.csv"), ("POST", "/api/answer"), ("POST", "/api/undo"), ("POST", "/api/sign-out"),
        ("POST", "/api/task/1/prediction"), ("POST", "/api/again"), ("POST", "/api/task/1/later"),
    ],
)  # fmt: skip
def test_everything_but_the_empty_page_needs_a_session(desk: Desk, method: str, path: str) -> None:
    desk.browser("Ann").get("/api/next")
    stranger = desk.browser()
    assert stranger.request(method, path, json={} if method == "POST" else None).status_code == 401
    stranger.cookies.set("kneeal_session_" + desk.store.id, "guess")
    assert stranger.request(method, path, json={} if method == "POST" else None).status_code == 401
    listed = {(m, r.path) for r in desk.app.routes for m in getattr(r, "methods", ())}  # type: ignore[attr-defined]
    assert (method, path.replace("/1", "/{number}")) in listed


def test_every_route_is_in_that_list(desk: Desk) -> None:
    paths = {r.path for r in desk.app.routes if r.path.startswith("/api/")}  # type: ignore[attr-defined]
    listed = {p[1].replace("/1", "/{number}") for p in
              test_everything_but_the_empty_page_needs_a_session.pytestmark[0].args[1]}  # fmt: skip
    assert paths - listed == {"/api/sign-in"}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"x-kneeal-csrf": "guess"}, 401),
        ({"x-kneeal-csrf": ""}, 401),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"host": "evil.example:8010"}, 421),
        ({"content-length": "9999999"}, 413),
    ],
)
def test_another_site_cannot_post(desk: Desk, headers: dict[str, str], code: int) -> None:
    ann = desk.browser("Ann")
    task = ann.get("/api/next").json()["task"]
    refused = ann.post("/api/answer", json=body(ann, task), headers=headers)
    assert refused.status_code == code
    assert desk.store.read("SELECT count(*) FROM answer")[0][0] == 0
    assert ann.post("/api/answer", json=body(ann, task)).status_code == 200


def test_the_cookie_is_out_of_reach(desk: Desk, data: Path, tmp_path: Path) -> None:
    def cookie(desk: Desk, home: str) -> str:
        client = desk.browser(home=home)
        link = desk.accounts.link(desk.accounts.put("Ann", reads=True, adjudicates=True))
        return str(client.post("/api/sign-in", json={"secret": link}).headers["set-cookie"].lower())

    near = cookie(desk, HOME)
    assert "httponly" in near and "samesite=strict" in near and "secure" not in near
    other = Desk(data, tmp_path / "other", "https://reading.hospital.example/knees/")
    far = cookie(other, "https://reading.hospital.example")
    assert "httponly" in far and "secure" in far


def test_security_headers_are_on_every_answer(desk: Desk, data: Path, tmp_path: Path) -> None:
    ann = desk.browser("Ann")
    for response in (ann.get("/"), ann.get("/static/page.js"), ann.get("/nothing"), ann.get("/api/next"),
                     ann.get("/", headers={"host": "evil"})):  # fmt: skip
        for name, value in HEADERS.items():
            assert response.headers[name] == value
        assert "server" not in response.headers and "strict-transport-security" not in response.headers
    home = "https://reading.hospital.example"
    far = Desk(data, tmp_path / "far", home).browser(home=home)
    assert "max-age" in far.get("/").headers["strict-transport-security"]


def test_the_page_needs_nothing_from_elsewhere(desk: Desk) -> None:
    """The content security policy allows no inline script or style and no other host."""
    page = desk.browser().get("/").text
    assert not re.search(r"https?://|<style|style=|onclick|<script>", page)
    for name in ("page.js", "viewer.js", "keys.js", "style.css"):
        text = desk.browser().get(f"/static/{name}").text
        assert text and "http://" not in text and "https://" not in text and "innerHTML" not in text
    for name in ("..%2fapp.py", "../app.py", "x", ""):
        assert desk.browser().get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://reading.hospital.example", "reading.hospital.example"),
        ("https://Reading.Hospital.example:443/knees/", "reading.hospital.example"),
        ("https://reading.hospital.example:8443/knees", "reading.hospital.example:8443"),
        ("http://reading.hospital.example:80", "reading.hospital.example"),
    ],
)
def test_behind_a_proxy_only_its_address_counts(data: Path, tmp_path: Path, url: str, host: str) -> None:
    """What a proxy passes on: the Host and the Origin of the browser, over a plain connection."""
    desk, scheme = Desk(data, tmp_path, url), url.partition(":")[0]
    assert desk.origin == Origin(frozenset({f"{scheme}://{host}"}), frozenset({host}), scheme == "https")
    reader = TestClient(desk.app, base_url="http://127.0.0.1:8010", headers={"host": host})
    secret = {"secret": desk.accounts.link(desk.accounts.put("Ann", reads=True, adjudicates=True))}
    foreign = ["http://127.0.0.1:8010", f"https://{host}.evil.example", "https://evil.example", f"ftp://{host}"]
    foreign.append(f"{'http' if scheme == 'https' else 'https'}://{host}")  # the same name without TLS is another site
    for origin in foreign:
        assert reader.post("/api/sign-in", json=secret, headers={"origin": origin}).status_code == 403
    assert reader.post("/api/sign-in", json=secret, headers={"origin": f"{scheme}://{host}"}).status_code == 200
    for other in ("127.0.0.1:8010", "localhost:8010", f"evil.{host}"):
        assert reader.get("/", headers={"host": other}).status_code == 421


@pytest.mark.parametrize("url", ["ftp://a.example", "reading.example", "https://u@a.example", "https://a.example/?x=1"])
def test_a_public_address_that_is_none(url: str) -> None:
    with pytest.raises(UserError, match="--public-url"):
        Origin.of("127.0.0.1", 8010, url)


def test_a_link_signs_in_once(desk: Desk) -> None:
    secret = desk.accounts.link(desk.accounts.put("Ann", reads=True, adjudicates=True))
    assert desk.browser().post("/api/sign-in", json={"secret": secret}).status_code == 200
    again = desk.browser().post("/api/sign-in", json={"secret": secret})
    assert again.status_code == 403
    assert again.json() == {
        "error": "a link that is not valid",
        "expected": "a link works once, within a day",
        "cure": "get a new one",
    }


def test_signing_out(desk: Desk) -> None:
    ann = desk.browser("Ann")
    cookie = dict(ann.cookies)
    assert ann.post("/api/sign-out", json={}).status_code == 200
    ann.cookies.update(cookie)  # a stolen copy is of no use either
    assert ann.get("/api/next").status_code == 401


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"kl": 5}, 422, "kl: Input should be less than 5"),
        ({"kl": -1}, 422, "kl: Input should be greater than or equal to 0"),
        ({"kl": 2.5}, 422, "kl"),
        ({"kl": "2"}, 422, "kl"),
        ({"kl": None}, 422, "neither or both"),
        ({"reason": "other"}, 422, "neither or both"),
        ({"kl": None, "reason": "x" * 300}, 422, "reason"),
        ({"kl": None, "reason": "TKR left"}, 422, "'TKR left'"),
        ({"findings": ["flu"]}, 422, "'flu'"),
        ({"task": 99999}, 404, "not yours to grade now"),
        ({"picture": "0" * 16}, 409, "picture on the page is of another knee"),
        ({"seconds": -3}, 422, "seconds"),
        ({"comment": "x" * 1001}, 422, "comment"),
        ({"nonce": "short"}, 422, "nonce"),
        ({"extra": 1}, 422, "extra"),
    ],
)
def test_a_bad_answer_says_what_and_keeps_everything_else(
    desk: Desk, change: dict[str, Any], code: int, message: str
) -> None:
    ann = desk.browser("Ann")
    first = ann.get("/api/next").json()["task"]
    second = ann.post("/api/answer", json=body(ann, first)).json()["task"]
    refused = ann.post("/api/answer", json=body(ann, second, change))
    assert refused.status_code == code and message in refused.json()["error"]
    assert [tuple(row) for row in desk.store.read("SELECT task, kl FROM answer")] == [(first["id"], 2)]
    assert ann.get("/api/next").json()["task"]["id"] == second["id"]


def test_a_closed_round_is_said(desk: Desk) -> None:
    ann = desk.browser("Ann")
    task = ann.get("/api/next").json()["task"]
    desk.store.sync([], dict.fromkeys(desk.knees[:10], 1))
    refused = ann.post("/api/answer", json=body(ann, task))
    assert refused.status_code == 409 and "closed" in refused.json()["error"]


def test_a_locked_store_and_a_full_disk_are_said(desk: Desk) -> None:
    ann = desk.browser("Ann", raise_server_exceptions=False)
    task = ann.get("/api/next").json()["task"]
    other = sqlite3.connect(desk.store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    locked = ann.post("/api/answer", json=body(ann, task))
    assert locked.status_code == 503 and "locked" in locked.json()["error"]
    other.execute("ROLLBACK")
    desk.store.write(lambda db: db.execute("PRAGMA max_page_count = 1"))
    full = None
    for _ in range(400):
        said = ann.post("/api/answer", json=body(ann, task, {"comment": "x" * 200}))
        if said.status_code == 200:
            said = ann.post("/api/undo", json={"nonce": f"{next(NUMBERS):032d}"})
        if said.status_code != 200:
            full = said
            break
        task = said.json()["task"]
    assert full is not None and full.status_code == 507 and "disk is full" in full.json()["error"]
    desk.store.write(lambda db: db.execute("PRAGMA max_page_count = 1000000"))
    current = ann.get("/api/next").json()["task"]
    assert ann.post("/api/answer", json=body(ann, current)).status_code == 200


def test_the_agreement_is_for_adjudicators(desk: Desk) -> None:
    zoe, ben = desk.browser("Zoe"), desk.browser("Ben")
    assert ben.get("/api/agreement").status_code == 403 and ben.get("/api/readings.csv").status_code == 403
    assert [pace["reader"] for pace in zoe.get("/api/agreement").json()["paces"]] == ["Zoe", "Ben"]
    assert zoe.get("/api/readings.csv").text.startswith("answer,knee_id")


def test_the_other_knee_and_the_prediction(desk: Desk) -> None:
    ann, ben = desk.browser("Ann"), desk.browser("Ben")
    task = ann.get("/api/next").json()["task"]
    own, other = look(ann, task), look(ann, task, "other")
    assert {other["side"], own["side"]} == {"L", "R"} and "token" not in other
    pictures = [ann.get(f"/api/task/{task['id']}/{path}").content for path in ("picture", "other")]
    assert pictures[0] != pictures[1]
    assert ben.get(f"/api/task/{task['id']}/picture").status_code == 404  # hers alone
    assert ann.post("/api/answer", json=body(ann, task)).status_code == 200
    assert ann.post(f"/api/task/{task['id']}/prediction", json={}).json() == {"probabilities": None}
    assert ann.post("/api/undo", json={"nonce": "u" * 20}).status_code == 200  # nothing was shown, nothing is locked


def test_a_reader_who_reads_no_more_holds_up_no_knee(data: Path, tmp_path: Path) -> None:
    """Neither her silent repeats nor what she took back: the others are given all that is left."""
    for number, leaves in enumerate((True, False)):
        desk = Desk(data, tmp_path / str(number), repeat=0.5)
        ben, cleo = desk.browser("Ben"), desk.browser("Cleo")
        task = ben.get("/api/next").json()["task"]
        for _ in range(9):
            task = ben.post("/api/answer", json=body(ben, task)).json()["task"]
        assert ben.post("/api/undo", json={"nonce": "u" * 20}).status_code == 200
        assert desk.store.counts()["open"] > 1
        if leaves:
            desk.accounts.remove(desk.accounts.find("Ben"))
        else:
            desk.accounts.put("Ben", reads=False, adjudicates=True)
            assert ben.get("/api/next").json()["task"] is None
        task = cleo.get("/api/next").json()["task"]
        while task is not None:
            task = cleo.post("/api/answer", json=body(cleo, task)).json()["task"]
        assert desk.store.counts()["settled"] == 10
        desk.store.close()


def test_a_page_goes_no_further_when_another_reader_signs_in(desk: Desk) -> None:
    """One browser, two readers one after the other: the first one's page must not act under the second one's name."""
    ann = desk.browser("Ann")
    task = ann.get("/api/next").json()["task"]
    answer = body(ann, task)
    ben = desk.browser("Ben")
    ann.cookies = ben.cookies
    for said in (
        ann.get("/api/next"),
        ann.post("/api/answer", json=answer),
        ann.get(f"/api/task/{task['id']}/picture"),
    ):
        assert said.status_code == 401 and "another reader" in said.json()["error"]
    assert desk.store.read("SELECT count(*) FROM answer")[0][0] == 0


def test_two_runs_of_one_host_share_a_browser(desk: Desk, data: Path, tmp_path: Path) -> None:
    other = Desk(data, tmp_path / "other")
    ann = desk.browser("Ann")
    cookies = {**ann.cookies, **other.browser("Ann").cookies}
    assert len(cookies) == 2
    ann.cookies.update(cookies)
    assert ann.get("/api/next").status_code == 200
    other.store.close()


@pytest.mark.parametrize("fault", ["empty folder", "no permission", "link loop", "hangs"])
def test_a_picture_that_cannot_be_read_is_said_and_costs_no_answer(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level("DEBUG")
    desk = Desk(data, tmp_path)
    ann = desk.browser("Ann", raise_server_exceptions=False)
    task = ann.get("/api/next").json()["task"]
    answer = body(ann, task)
    wait = threading.Event()

    def fail(self: Pictures, knee_id: str) -> Path:
        if fault == "hangs":
            wait.wait(60)
        raise {"empty folder": OSError, "no permission": PermissionError}.get(fault, OSError)(f"secret {knee_id}")

    monkeypatch.setattr(Pictures, "source", fail)
    desk.pictures.timeout = 0.3
    with ann:  # one event loop, as in a server
        saved = ann.post("/api/answer", json=answer)
        assert saved.status_code == 200 and saved.json()["done"] == 1  # whatever the share does
        following = saved.json()["task"]
        for _ in range(3):  # as the page asks again
            said = ann.get(f"/api/task/{following['id']}/picture")
            assert said.status_code == 503 and "cannot be read at the moment" in said.json()["error"]
        assert ann.post(f"/api/task/{following['id']}/later", json={}).status_code == 200
        monkeypatch.undo()
        wait.set()
        end = time.monotonic() + 240
        while ann.get(f"/api/task/{following['id']}/picture").status_code != 200:
            assert time.monotonic() < end
    assert not any(knee in caplog.text or knee in said.text for knee in desk.knees)
    desk.store.close()


def test_a_share_that_is_not_mounted_is_no_reason_to_show_less(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    dataset = PreparedDataset.open(data)
    pictures = Pictures(dataset, tmp_path / "mount")
    first, second = dataset.manifest.ids[:2]
    with pytest.raises(OSError, match="empty"):
        pictures[first]
    (tmp_path / "mount" / "0.png").symlink_to(tmp_path / "mount" / "0.png")
    with pytest.raises(OSError):
        pictures[first]
    assert not pictures[second].full  # only missing


def test_a_comment_a_finding_and_a_joint_space_are_kept(desk: Desk) -> None:
    ann = desk.browser("Ann")
    task = ann.get("/api/next").json()["task"]
    width = {"x0": 0.25, "y0": 0, "x1": 0.25, "y1": 9.5, "mm": 5.23, "name": "medial"}
    more = {"findings": ["prior surgery"], "comment": " screws, tibia ", "measurements": [width]}
    assert ann.post("/api/answer", json=body(ann, task, more)).status_code == 200
    row = next(csv.DictReader(io.StringIO(readings_table(desk.store))))
    assert json.loads(row["findings"]) == ["prior surgery"] and row["comment"] == "screws, tibia"
    assert json.loads(row["measurements"]) == [width]


def test_the_atlas_of_a_site(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    folder.mkdir()
    for name in ("2 osteophytes.png", "4.png", "notes.png"):
        cv2.imwrite(str(folder / name), np.eye(9, dtype=np.uint8))
    desk = Desk(data, tmp_path / "desk", atlas=read_atlas(folder))
    ann = desk.browser("Ann")
    assert ann.get("/api/me").json()["atlas"] == [[0, 2, "osteophytes"], [1, 4, ""]]
    assert ann.get("/api/atlas/1").content.startswith(b"\x89PNG")
    assert [ann.get(f"/api/atlas/{other}").status_code for other in ("2", "-1", "..%2fsecret")] == [404, 404, 404]
    desk.store.close()
    for wrong in (tmp_path / "gone", tmp_path):
        with pytest.raises(UserError):
            read_atlas(wrong)
