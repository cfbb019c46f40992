"""The web application: small JSON answers to one page. Knee ids never leave the server."""

# No `from __future__ import annotations`: FastAPI reads the annotations of functions that are made in a function.
import hmac
import json
import logging
import mimetypes
import sqlite3
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from kneeal.annotate.accounts import SESSION_SECONDS, Accounts, Session
from kneeal.annotate.agreement import paces, readings_table, within_and_between
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.consensus import RULE
from kneeal.annotate.picture_service import EncodedPicture, Example, PictureService
from kneeal.annotate.request_models import FINDINGS, Answer, EmptyRequest, SignInRequest, UndoRequest
from kneeal.annotate.security import COOKIE, CSRF_HEADER, HEALTH, Guard, Origin
from kneeal.annotate.store import Store
from kneeal.annotate.supervisor import STALE_SECONDS, RoundSupervisor, read_prediction
from kneeal.annotate.tasks import Progress, RefusedError, Task
from kneeal.exchange.answers import UNREADABLE_REASONS

logger = logging.getLogger("kneeal.annotate")
STATIC = Path(str(resources.files("kneeal") / "annotate" / "static"))
#: The page asks here who it is, before it knows the secret of its session; links and images cannot send one.
_WITHOUT_SECRET = ("/api/me", "/api/readings.csv")


def make_app(
    store: Store,
    accounts: Accounts,
    supervisor: RoundSupervisor,
    pictures: PictureService,
    origin: Origin,
    atlas: Sequence[Example] = (),
) -> FastAPI:
    """The application of one run."""
    app = FastAPI(title="kneeal", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, origin=origin)
    mimetypes.add_type("text/javascript", ".js")  # a registry may know another type, which browsers refuse to run
    app.mount("/static", StaticFiles(directory=STATIC))
    _add_error_handlers(app)
    cookie = COOKIE + store.id

    # Not in a worker thread as other handlers are: with many readers, queueing twice costs more than the lookup.
    async def signed_in(request: Request) -> Session:
        session = accounts.session(request.cookies.get(cookie))
        if session is None:
            raise RefusedError(401, "nobody is signed in", "a session", "open a one-time link")
        # Checked on every request, so that a page stops working once another reader signs in in the same browser.
        free = request.url.path in _WITHOUT_SECRET or request.url.path.startswith("/api/atlas/")
        given = request.headers.get(CSRF_HEADER, "")
        if not free and not hmac.compare_digest(given.encode(), session.csrf.encode()):
            raise RefusedError(
                401, "another reader has signed in in this browser", "the page of who is signed in", "reload it"
            )
        return session

    signed = Annotated[Session, Depends(signed_in)]

    async def informed(session: signed) -> Session:
        """An adjudicator who is about to see readings of others."""
        if not session.adjudicates:
            raise RefusedError(403, "a page for adjudicators", "an adjudicator", "sign in as one")
        if session.reads:
            if store.counts()["open"]:
                raise RefusedError(
                    409, "the readings of others are hidden until all are in", "a finished query", "look again then"
                )
            store.inform(session.id)
        return session

    deciding = Annotated[Session, Depends(informed)]

    def status_for(session: Session) -> dict[str, Any]:
        # An adjudicator who also reads sees an adjudicator's status only when all readings are in and hers are final.
        ready = not session.reads or (not store.counts()["open"] and store.informed(session.id))
        return supervisor.status(decides=session.adjudicates and ready)

    def page_state(session: Session, task: Task | None, progress: Progress) -> dict[str, Any]:
        if task is None:
            return {**vars(progress), "task": None, "status": status_for(session)}
        # The page does not learn whether this is a repeat.
        shown = {"id": task.id, "adjudication": task.kind == "adjudication", "grades": list(task.grades)}
        predictions = supervisor.pending.predicted and not (store.plan or ReadingPlan()).repeat
        return {**vars(progress), "task": shown, "predictions": predictions}

    @app.get("/")
    def index() -> Response:
        return FileResponse(STATIC / "index.html")

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @app.get(HEALTH)
    def health() -> Response:
        store.read("SELECT 1 FROM setting LIMIT 1")
        alive = supervisor.age < STALE_SECONDS
        return JSONResponse({"ok": alive}, 200 if alive else 503)

    @app.post("/api/sign-in")
    def sign_in(body: SignInRequest, response: Response) -> dict[str, Any]:
        key, reader = accounts.sign_in(body.secret)
        response.set_cookie(
            cookie, key, max_age=int(SESSION_SECONDS), httponly=True, samesite="strict", secure=origin.secure, path="/"
        )
        logger.info("reader %d signed in", reader)
        return {}

    @app.post("/api/sign-out")
    def sign_out(request: Request, response: Response, session: signed, body: EmptyRequest) -> dict[str, Any]:
        accounts.sign_out(request.cookies[cookie])
        response.delete_cookie(cookie, path="/", httponly=True, samesite="strict", secure=origin.secure)
        return {}

    @app.get("/api/me")
    def me(session: signed) -> dict[str, Any]:
        return {
            "name": session.name, "csrf": session.csrf, "adjudicates": session.adjudicates,
            "reasons": UNREADABLE_REASONS, "findings": FINDINGS, "rule": RULE, "status": status_for(session),
            "atlas": [(number, example.grade, example.caption) for number, example in enumerate(atlas)],
        }  # fmt: skip

    @app.get("/api/atlas/{number}")
    def example(session: signed, number: int) -> Response:
        if not 0 <= number < len(atlas):
            raise RefusedError(404, "no such picture", "one of the atlas", "reload the page")
        return Response(atlas[number].png, media_type="image/png")

    @app.get("/api/next")
    def next_task(session: signed) -> dict[str, Any]:
        return page_state(session, store.next(session.id), store.progress(session.id))

    @app.post("/api/answer")
    async def answer(session: signed, body: Answer) -> dict[str, Any]:
        following = await store.write_soon(store.answering(session.id, body))
        pictures.forget(store.task(session.id, body.task).knee_id)
        return page_state(session, *following)

    @app.post("/api/undo")
    def undo(session: signed, body: UndoRequest) -> dict[str, Any]:
        if supervisor.readings_stand:
            raise RefusedError(
                409, "all readings are in and final", "an answer to an open knee", "wait for the next knees"
            )
        return page_state(session, store.undo(session.id, nonce=body.nonce), store.progress(session.id))

    @app.post("/api/task/{number}/later")
    def later(session: signed, number: int, body: EmptyRequest) -> dict[str, Any]:
        return page_state(session, store.put_off(session.id, number), store.progress(session.id))

    @app.get("/api/task/{number}/picture")
    async def picture(session: signed, number: int) -> Response:
        task = store.task(session.id, number)
        return _png(await pictures.get(task.knee_id), task=task.id, token=task.picture)

    @app.get("/api/task/{number}/other")
    async def other_picture(session: signed, number: int) -> Response:
        task = store.task(session.id, number)
        knee_id = pictures.other_knee(task.knee_id)
        if knee_id is None:
            raise RefusedError(404, "no other knee of this patient", "both knees in the data set", "grade it without")
        return _png(await pictures.get(knee_id), task=task.id)

    @app.post("/api/task/{number}/prediction")
    def prediction(session: signed, number: int, body: EmptyRequest) -> dict[str, Any]:
        found = read_prediction(supervisor.run, store.task(session.id, number).knee_id)
        if found is not None:
            store.mark_prediction_seen(session.id, number)
        return {"probabilities": found}

    @app.get("/api/status")
    def status(session: signed) -> dict[str, Any]:
        return status_for(session)

    @app.post("/api/again")
    def again(session: signed, body: EmptyRequest) -> dict[str, Any]:
        supervisor.again()
        return status_for(session)

    @app.get("/api/agreement")
    def agreement(session: deciding) -> dict[str, Any]:
        within, between = within_and_between(store)
        return {
            "within": [vars(row) for row in within], "between": [vars(row) for row in between],
            "paces": paces(store), "rule": RULE,
        }  # fmt: skip

    @app.get("/api/readings.csv")
    def readings(session: deciding) -> Response:
        return Response(
            readings_table(store),
            media_type="text/csv",
            headers={"content-disposition": "attachment; filename=readings.csv"},
        )

    return app


def _png(picture: EncodedPicture, **more: Any) -> Response:
    about = json.dumps({**picture.metadata, **more})
    return Response(picture.png, media_type="image/png", headers={"x-kneeal-picture": about})


def _add_error_handlers(app: FastAPI) -> None:
    """Errors in the form that the page shows."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return JSONResponse({"error": error.found, "expected": error.expected, "cure": error.cure}, error.code)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        # Without the values: a body may hold what no log should.
        problems = [
            ": ".join([*map(str, item["loc"][1:]), item["msg"].removeprefix("Value error, ")])
            for item in error.errors()
        ]
        return JSONResponse({"error": "malformed request: " + "; ".join(problems)[:500]}, 422)

    @app.exception_handler(sqlite3.OperationalError)
    async def unwritable(request: Request, error: sqlite3.OperationalError) -> Response:
        text = str(error)
        logger.error("the store cannot be written: %s", text)
        if "locked" in text or "busy" in text:
            code, found, cure = 503, "the store is locked by another program", "the page tries again by itself"
        elif "full" in text or "disk" in text:
            code, found = 507, "the disk is full: this answer is not stored, all earlier ones are"
            cure = "free some space; the page tries again by itself"
        else:
            code, found, cure = 503, f"the store cannot be written ({text})", "look at the server's log"
        return JSONResponse({"error": found, "cure": cure}, code)
