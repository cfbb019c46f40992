"""Errors in the form that the page shows."""

# No `from __future__ import annotations`: FastAPI reads the annotations of functions that are made in a function.
import logging
import sqlite3

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from kneeal.annotate.tasks import RefusedError

logger = logging.getLogger("kneeal.annotate")


def add_error_handlers(app: FastAPI) -> None:
    """Say what is wrong, and that everything else is kept."""

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
        return JSONResponse({"error": "a request of another form: " + "; ".join(problems)[:500]}, 422)

    @app.exception_handler(sqlite3.OperationalError)
    async def unwritable(request: Request, error: sqlite3.OperationalError) -> Response:
        text = str(error)
        logger.error("the store cannot be written: %s", text)
        if "locked" in text or "busy" in text:
            return JSONResponse(
                {"error": "the store is locked by another program", "cure": "the page tries again by itself"}, 503
            )
        if "full" in text or "disk" in text:
            return JSONResponse(
                {"error": "the disk is full: this answer is not stored, all earlier ones are",
                 "cure": "free some space; the page tries again by itself"}, 507,
            )  # fmt: skip
        return JSONResponse({"error": f"the store cannot be written ({text})", "cure": "look at the server's log"}, 503)
