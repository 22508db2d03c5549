"""Probes and metrics: /livez says that the loops tick, /readyz that this replica can do its work, /metrics what it and
its web process did.

Liveness never asks the database nor the leadership: a restart mends neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from scheduledjobs.errors import SettingsError
from scheduledjobs.web.process import WebProcess


class Pulse:
    """When each loop will have come round again, at the latest."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._due_at: dict[str, float] = {}

    def tick(self, loop: str, seconds: float) -> None:
        """The loop of this name is alive, and will have said so again within so many seconds."""
        self._due_at[loop] = self._monotonic() + seconds

    def forget(self, loop: str) -> None:
        """The loop has ended on purpose."""
        self._due_at.pop(loop, None)

    def stalled(self) -> list[str]:
        """Return the loops that should have come round by now."""
        now = self._monotonic()
        return sorted(name for name, at in self._due_at.items() if now > at)


Checks = Callable[[], Mapping[str, bool]]
"""Returns the named things that make this replica ready, and whether each is so."""


class HealthServer:
    """The small server of one replica."""

    def __init__(self, host: str, port: int, pulse: Pulse, checks: Checks, site: WebProcess | None = None) -> None:
        self._site = site
        self._host = host
        self._wanted_port = port
        self._pulse = pulse
        self._checks = checks
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> HealthServer:
        app = web.Application()
        app.add_routes(
            [web.get("/livez", self._livez), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._wanted_port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._host}:{self._wanted_port}"
            raise SettingsError(f"SCHEDULEDJOBS_METRICS_PORT: cannot listen on {where}: {error.strerror}") from error
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        stalled = self._pulse.stalled()
        return _answer(ok=not stalled, text="ok" if not stalled else f"stalled: {', '.join(stalled)}")

    async def _readyz(self, _: web.Request) -> web.Response:
        failing = [name for name, good in self._checks().items() if not good]
        return _answer(ok=not failing, text="ok" if not failing else f"not ready: {', '.join(failing)}")

    async def _metrics(self, _: web.Request) -> web.Response:
        of_web = await self._site.metrics() if self._site is not None else b""
        return web.Response(body=generate_latest() + of_web, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(*, ok: bool, text: str) -> web.Response:
    return web.Response(status=200 if ok else 503, text=text + "\n")
