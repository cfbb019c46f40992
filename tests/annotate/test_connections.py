"""Connections without a request end; those with one stay, however long they are used."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="the page needs the extra kneeal[annotate]")

from kneeal.annotate.connections import BoundedProtocol


class Hasty(BoundedProtocol):
    TIME_LIMIT = 4.0  # longer than a loaded machine keeps this process waiting between two requests
    MAX_CONNECTIONS = 20


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    return head[:15] + await reader.readexactly(2)


async def end(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read(100) == b""


async def scenario() -> None:
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=Hasty, log_level="error", lifespan="off"))
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    busy = await asyncio.open_connection("127.0.0.1", port)
    halves = []
    for sent in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1") * 30:
        half = await asyncio.open_connection("127.0.0.1", port)
        half[1].write(sent)
        halves.append(half)
        assert await ask(*busy) == b"HTTP/1.1 200 OKok"  # never the one that is used
    fresh = await asyncio.open_connection("127.0.0.1", port)
    assert await ask(*fresh) == b"HTTP/1.1 200 OKok"
    assert len(server.server_state.connections) <= Hasty.MAX_CONNECTIONS
    ends = asyncio.gather(*(end(reader) for reader, _ in halves))
    while not ends.done():  # longer than the limit, since the busy one is the oldest
        assert await ask(*busy) == b"HTTP/1.1 200 OKok"
        await asyncio.sleep(0.1)
    await ends
    server.should_exit = True
    await serving


def test_half_open_connections_end_and_used_ones_stay() -> None:
    asyncio.run(scenario())
