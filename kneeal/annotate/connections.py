"""The server's HTTP protocol with limits: no client keeps a connection open without making a request."""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class BoundedProtocol(HttpToolsProtocol):
    """Ends connections on which no whole request arrives in time, and bounds how many there are.

    Uvicorn itself ends only connections that idle after a response. Where too many are open, the one that has
    waited longest for a request is closed, so that a real request always gets in.
    """

    #: Seconds for the head and body of a request, from when the connection is open or the last one was answered.
    TIME_LIMIT: ClassVar[float] = 15.0
    #: Seconds for a response, with a picture over a slow line.
    RESPONSE_LIMIT: ClassVar[float] = 300.0
    #: Connections at once.
    MAX_CONNECTIONS: ClassVar[int] = 200

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, and close one that waits if there are too many."""
        super().connection_made(transport)
        self._seen: tuple[object, bool] = (None, True)
        self._since = self.loop.time()
        self._check()
        if len(self.connections) > self.MAX_CONNECTIONS:
            idle = [c for c in self.connections if isinstance(c, BoundedProtocol) and c is not self and c._waits()]
            max(idle, key=BoundedProtocol._idle_seconds, default=self).transport.abort()

    def _waits(self) -> bool:
        """Whether no whole request has arrived that is still to be answered."""
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body

    def _idle_seconds(self) -> float:
        """Seconds that it has waited for this request, or this response, as of the last look."""
        seen = self.cycle, self._waits()
        if self._seen != seen:
            self._seen, self._since = seen, self.loop.time()
        return self.loop.time() - self._since

    def _check(self) -> None:
        if self.transport.is_closing():
            return
        if self._idle_seconds() > (self.TIME_LIMIT if self._waits() else self.RESPONSE_LIMIT):
            self.transport.abort()
        else:
            self.loop.call_later(self.TIME_LIMIT / 5, self._check)
