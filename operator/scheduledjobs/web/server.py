"""The server of REST and pages: a thread of its own with its own event loop, so no page delays a fire.

Its sessions to the database and its connections to the API server belong to that loop, too.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from scheduledjobs.errors import SettingsError
from scheduledjobs.handlers import Registry
from scheduledjobs.kube.caller import Callers
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.settings import Settings
from scheduledjobs.web import ui
from scheduledjobs.web.auth import Auth
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.reads import Reads, web_sessions
from scheduledjobs.web.site import build
from scheduledjobs.web.writes import Writes

log = structlog.get_logger(__name__)

MOST_REQUESTS = 256
END_SECONDS = 3.0
AGAIN_SECONDS = 1.0
SWITCH_SECONDS = 0.0005
"""How long this thread may keep the interpreter's lock while the loop that fires waits for it; 5 ms is Python's own."""


class _Uvicorn(uvicorn.Server):
    """A server that leaves signals to the replica."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class WebServer:
    """The server of one replica; an asynchronous context, from whose beginning to its end it answers."""

    def __init__(self, settings: Settings, kube: KubeClient, registry: Registry, hub: Hub) -> None:
        self._settings = settings
        self._kube = kube
        self._registry = registry
        self._hub = hub
        self._server: _Uvicorn | None = None
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._socket: socket.socket | None = None
        self.port = 0

    async def __aenter__(self) -> WebServer:
        self._socket = self._bind(self._settings.port)
        self.port = self._socket.getsockname()[1]
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_ending.set()
        if self._server is not None:
            self._server.should_exit = True
        await asyncio.to_thread(self._thread.join, END_SECONDS + 1)

    def _bind(self, port: int) -> socket.socket:
        """Listen now, so that a port that is taken is said in one sentence at the start."""
        where = f"{self._settings.host}:{port}"
        try:
            found = socket.create_server((self._settings.host, port), family=_family(self._settings.host), backlog=128)
        except OSError as error:
            raise SettingsError(f"SCHEDULEDJOBS_PORT: cannot listen on {where}: {error.strerror or error}") from error
        return found

    def _run(self) -> None:
        """Serve until told to end; whatever ends it before is said, and it begins again."""
        sys.setswitchinterval(SWITCH_SECONDS)
        while not self._is_ending.is_set():
            try:
                asyncio.run(self._serve())
            except Exception:
                log.exception("the server of REST and pages ended: it begins again")
                self._server = None
                time.sleep(AGAIN_SECONDS)

    async def _serve(self) -> None:
        self._hub.attach()
        url = self._settings.database_url.get_secret_value()
        listening, self._socket = self._socket or self._bind(self.port), None
        async with web_sessions(url) as sessions, Callers(self._kube.configuration) as callers:
            reads = Reads(sessions, self._registry, self._hub)
            auth = Auth(self._settings, callers, reads.namespaces)
            writes = Writes(callers, auth, reads, self._registry, self._hub, url)
            app = build(reads=reads, writes=writes, auth=auth, hub=self._hub, mount=ui.mount)
            self._server = _Uvicorn(
                uvicorn.Config(
                    app,
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    http="h11",
                    ws="none",
                    server_header=False,
                    proxy_headers=False,
                    limit_concurrency=MOST_REQUESTS,
                    timeout_graceful_shutdown=int(END_SECONDS),
                )
            )
            self._server.should_exit = self._is_ending.is_set()
            await self._server.serve(sockets=[listening])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
