"""The web application: small JSON answers to one page. Knee ids never leave the server."""

# No `from __future__ import annotations`: FastAPI reads the annotations of functions that are made in a function.
import logging
import math
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from kneeal.annotate.accounts import SESSION_SECONDS, Accounts, Session
from kneeal.annotate.agreement import paces, readings_table, within_and_between
from kneeal.annotate.answers import Answer
from kneeal.annotate.consensus import RULE
from kneeal.annotate.error_handlers import add_error_handlers
from kneeal.annotate.picture_metadata import Shown
from kneeal.annotate.request_models import AnswerRequest, EmptyRequest, SignInRequest, UndoRequest
from kneeal.annotate.security import COOKIE, CSRF_HEADER, Guard, Origin, same
from kneeal.annotate.store import Store
from kneeal.annotate.supervisor import RoundSupervisor, read_prediction
from kneeal.annotate.tasks import Progress, RefusedError, Task
from kneeal.exchange.answers import REASONS
from kneeal.exchange.knee_picture import KneePicture, to_png
from kneeal.exchange.pictures import Pictures

logger = logging.getLogger("kneeal.annotate")
STATIC = Path(str(resources.files("kneeal") / "annotate" / "static"))
#: Longest time that one knee can have been looked at, in seconds.
MAX_SECONDS = 86400.0
_FILES = {"page.js": "text/javascript", "viewer.js": "text/javascript", "style.css": "text/css"}


def make_app(
    store: Store,
    accounts: Accounts,
    supervisor: RoundSupervisor,
    pictures: Pictures,
    patients: dict[str, str],
    origin: Origin,
    run: Path,
) -> FastAPI:
    """The application of one run.

    Args:
        store: Readings.
        accounts: Who may come in.
        supervisor: The run behind the page.
        pictures: Pictures of its knees.
        patients: Patient by knee, to find the other knee.
        origin: The addresses that are ours.
        run: The run folder.
    """
    app = FastAPI(title="kneeal", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, origin=origin)
    add_error_handlers(app)
    shown = Shown(pictures)
    others: dict[str, list[str]] = {}
    for knee_id, patient in patients.items():
        others.setdefault(patient, []).append(knee_id)

    # Not in a thread, as other handlers are: with many readers, waiting for one's turn twice costs more than the look.
    async def signed_in(request: Request) -> Session:
        session = accounts.session(request.cookies.get(COOKIE))
        if session is None:
            raise RefusedError(401, "nobody is signed in", "a session", "open a one-time link")
        if request.method != "GET" and not same(request.headers.get(CSRF_HEADER), session.csrf):
            raise RefusedError(403, "a request from another page", "the page's own secret", "load the page again")
        return session

    signed = Annotated[Session, Depends(signed_in)]

    async def adjudicator(session: signed) -> Session:
        if not session.adjudicates:
            raise RefusedError(403, "a page for adjudicators", "an adjudicator", "readers stay blind to each other")
        return session

    def say(task: Task | None, progress: Progress) -> dict[str, Any]:
        said: dict[str, Any] = {**vars(progress), "task": None}
        if task is not None:
            said["task"] = _say_task(task, shown)
        else:
            said["status"] = supervisor.status()
        return said

    def other_knee(knee_id: str) -> str | None:
        return next((i for i in others.get(patients.get(knee_id, ""), []) if i != knee_id), None)

    @app.get("/")
    def index() -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in _FILES:
            return JSONResponse({"error": "no such file"}, 404)
        return FileResponse(STATIC / name, media_type=_FILES[name])

    @app.post("/api/sign-in")
    def enter(body: SignInRequest, response: Response) -> dict[str, Any]:
        key, session = accounts.sign_in(body.secret)
        response.set_cookie(
            COOKIE, key, max_age=int(SESSION_SECONDS), httponly=True, samesite="strict", secure=origin.secure, path="/"
        )
        logger.info("reader %d signed in", session.reader)
        return {"name": session.name}

    @app.post("/api/sign-out")
    def leave(request: Request, response: Response, session: signed, body: EmptyRequest) -> dict[str, Any]:
        accounts.sign_out(request.cookies.get(COOKIE, ""))
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=origin.secure)
        return {}

    @app.get("/api/me")
    def me(session: signed) -> dict[str, Any]:
        return {
            "name": session.name, "csrf": session.csrf, "adjudicates": session.adjudicates, "reasons": REASONS,
            "rule": RULE, "status": supervisor.status(),
        }  # fmt: skip

    @app.get("/api/next")
    def next_task(session: signed) -> dict[str, Any]:
        return say(store.next(session.reader), store.progress(session.reader))

    @app.post("/api/answer")
    async def answer(session: signed, body: AnswerRequest) -> Response:
        if not math.isfinite(body.seconds) or body.seconds < 0:
            raise RefusedError(422, f"{body.seconds} seconds", "a time of 0 or more", "load the page again")
        given = Answer(
            body.task,
            body.nonce,
            body.seen,
            body.kl,
            body.reason,
            min(float(body.seconds), MAX_SECONDS),
            [measurement.model_dump() for measurement in body.measurements],
        )
        task, progress = await store.write_soon(store.answering(session.reader, given))
        if task is not None and task.knee_id in shown:
            return JSONResponse(say(task, progress))
        return JSONResponse(await run_in_threadpool(say, task, progress))  # a picture has to be read first

    @app.post("/api/undo")
    def undo(session: signed, body: UndoRequest) -> dict[str, Any]:
        return say(store.undo(session.reader, nonce=body.nonce), store.progress(session.reader))

    @app.get("/api/task/{number}/picture")
    def picture(session: signed, number: int) -> Response:
        return _png(pictures[store.task(session.reader, number).knee_id])

    @app.get("/api/task/{number}/other")
    def other(session: signed, number: int) -> dict[str, Any]:
        knee_id = other_knee(store.task(session.reader, number).knee_id)
        return {"other": None if knee_id is None else shown[knee_id]}

    @app.get("/api/task/{number}/other/picture")
    def other_picture(session: signed, number: int) -> Response:
        knee_id = other_knee(store.task(session.reader, number).knee_id)
        if knee_id is None:
            raise RefusedError(404, "no other knee of this patient", "both knees in the data set", "go on without it")
        return _png(pictures[knee_id])

    @app.post("/api/task/{number}/prediction")
    def opinion(session: signed, number: int, body: EmptyRequest) -> dict[str, Any]:
        return {"probabilities": read_prediction(run, store.mark_prediction_seen(session.reader, number).knee_id)}

    @app.get("/api/status")
    def status(session: signed) -> dict[str, Any]:
        return supervisor.status()

    @app.post("/api/again")
    def again(session: signed, body: EmptyRequest) -> dict[str, Any]:
        supervisor.again()
        return supervisor.status()

    @app.get("/api/agreement")
    def agreement(session: Annotated[Session, Depends(adjudicator)]) -> dict[str, Any]:
        within, between = within_and_between(store)
        return {
            "within": [vars(row) for row in within], "between": [vars(row) for row in between],
            "paces": [vars(row) for row in paces(store)], "rule": RULE,
        }  # fmt: skip

    @app.get("/api/readings.csv")
    def readings(session: Annotated[Session, Depends(adjudicator)]) -> Response:
        return Response(
            readings_table(store),
            media_type="text/csv",
            headers={"content-disposition": "attachment; filename=readings.csv"},
        )

    return app


def _say_task(task: Task, shown: Shown) -> dict[str, Any]:
    """A task for the page. Whether it is a repeat is not told."""
    return {
        "id": task.id,
        "seen": task.current,
        "adjudication": task.kind == "adjudication",
        "grades": list(task.grades),
        **shown[task.knee_id],
    }


def _png(picture: KneePicture) -> Response:
    return Response(to_png(picture.pixels), media_type="image/png")
