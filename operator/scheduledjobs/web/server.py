"""The server of REST and pages, in the web process: its sessions, its connections to the API server, and uvicorn."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from scheduledjobs.handlers import Registry
from scheduledjobs.kube.caller import Callers
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.settings import Settings
from scheduledjobs.web import ui
from scheduledjobs.web.auth import Auth
from scheduledjobs.web.connection import AtMost, Connection
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.meter import exposition
from scheduledjobs.web.protocol import ASK, CHANGE, END_SECONDS, SERVING, packed
from scheduledjobs.web.reads import Reads
from scheduledjobs.web.sessions import web_sessions
from scheduledjobs.web.site import build
from scheduledjobs.web.writes import Writes

MOST_REQUESTS = 256
LOOK_SECONDS = 1.0


class _Uvicorn(uvicorn.Server):
    """A server that says when it serves, and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, on_serving: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_serving = on_serving

    def end(self) -> None:
        """Take no more requests, and end once those that have begun are answered."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        self._on_serving()


class WebServer:
    """REST and pages over one socket."""

    def __init__(
        self, settings: Settings, kube: KubeClient, registry: Registry, tell: Callable[[bytes], object]
    ) -> None:
        """`tell` says something to the replica: that it serves, and what it has counted."""
        self._settings = settings
        self._kube = kube
        self._registry = registry
        self._tell = tell
        self._hub = Hub()

    async def run(self, listening: socket.socket) -> None:
        """Serve until the replica closes our standard input, or SIGTERM."""
        url = self._settings.database_url.get_secret_value()
        async with web_sessions(url) as sessions, Callers(self._kube.configuration) as callers:
            reads = Reads(sessions, self._registry, self._hub)
            auth = Auth(self._settings, callers, reads.namespaces)
            writes = Writes(callers, auth, reads, self._registry, self._hub, url)
            server = _Uvicorn(
                uvicorn.Config(
                    AtMost(build(reads=reads, writes=writes, auth=auth, hub=self._hub, mount=ui.mount), MOST_REQUESTS),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    http=Connection,
                    ws="none",
                    server_header=False,
                    proxy_headers=False,
                    timeout_graceful_shutdown=int(END_SECONDS),
                ),
                lambda: self._tell(SERVING),
            )
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.end)
            hearing = asyncio.create_task(self._hear(server.end))
            try:
                await server.serve(sockets=[listening])
            finally:
                hearing.cancel()

    async def _hear(self, end: Callable[[], None]) -> None:
        """Pass on what the replica says; where it says no more, it is gone.

        A child that a handler of it forked may hold its end of the pipe open, so its death is looked for as well.
        """
        loop, replica = asyncio.get_running_loop(), os.getppid()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while os.getppid() == replica and not reader.at_eof():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    said = await reader.read(1024)
                    if CHANGE in said:
                        self._hub.change()
                    if ASK in said:
                        self._tell(packed(exposition()))
        end()
