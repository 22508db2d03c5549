"""Connections: a request has a time in which to come whole, and only requests that run count against their limit.

uvicorn watches the time of a connection only once it has had an answer, and counts open connections as if each had a
request. So a few hundred that send nothing, or never the end, would lock everybody out for as long as they please.
"""

from __future__ import annotations

import asyncio

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVAL_SECONDS = 10.0
"""How long a request may take to arrive with its body, of 256 KiB at most: from the connection, or from its first byte
on one that had an answer before."""

ARRIVING = frozenset({h11.IDLE, h11.SEND_BODY})


class Connection(H11Protocol):
    """A connection that is closed where a request does not come whole in time."""

    _arrival: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take in what has come, and see whether that was all."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state not in ARRIVING:
            self._unwatch()
        elif self._arrival is None:
            self._arrival = self.loop.call_later(ARRIVAL_SECONDS, self._give_up)

    def _unwatch(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _give_up(self) -> None:
        self._arrival = None
        self.transport.close()


class AtMost:
    """An application that takes so many requests at a time; another one is 503 at once."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if there is room."""
        if self._running >= self._most:
            await service_unavailable(scope, receive, send)  # type: ignore[arg-type]
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
