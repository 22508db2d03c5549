"""The credentials of a kubeconfig, which expire while a replica runs; the server only hears who asks."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web

from scheduledjobs.kube.client import KubeClient, load_configuration
from scheduledjobs.kube.renewal import RENEW_SECONDS


class Asking:
    """A replica that asks an API server as its kubeconfig says, by a clock of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = folder / "token"
        self.heard: list[str] = []
        self.now = 1000.0
        self.kube: KubeClient

    async def answer(self, request: web.Request) -> web.Response:
        self.heard.append(request.headers.get("Authorization", ""))
        return web.json_response({})

    def write(self, url: str, user: dict[str, Any]) -> Path:
        """Write the kubeconfig."""
        path = self.folder / "kubeconfig"
        named = {"cluster": "it", "user": "me"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": user}],
            "contexts": [{"name": "here", "context": named}],
            "current-context": "here",
        }
        path.write_text(json.dumps(config))
        return path

    async def ask(self) -> str:
        """Make a request; return what it showed."""
        await self.kube.request("GET", "/api")
        return self.heard[-1]

    async def until(self, is_so: Callable[[str], bool]) -> None:
        """Ask until what is shown is so."""
        async with asyncio.timeout(10):
            while not is_so(await self.ask()):
                await asyncio.sleep(0.01)


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    found = Asking(tmp_path)
    found.token.write_text("first")
    app = web.Application()
    app.router.add_get("/api", found.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.write(f"http://127.0.0.1:{runner.addresses[0][1]}", {"tokenFile": "token"})
    try:
        yield found
    finally:
        await found.kube.api.close()
        await runner.cleanup()


@pytest.fixture
async def by_file(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> Asking:
    monkeypatch.setenv("KUBECONFIG", str(asking.folder / "kubeconfig"))
    asking.kube = KubeClient(await load_configuration(lambda: asking.now))
    return asking


async def test_a_token_that_was_written_anew_is_shown_from_the_next_minute_on(by_file: Asking) -> None:
    assert await by_file.ask() == "Bearer first"
    by_file.token.write_text("second")
    by_file.now += RENEW_SECONDS
    await by_file.until("Bearer second".__eq__)


async def test_who_has_not_asked_for_long_shows_the_new_token_at_once(by_file: Asking) -> None:
    by_file.token.write_text("second")
    by_file.now += 60 * RENEW_SECONDS
    assert await by_file.ask() == "Bearer second"


async def test_a_token_that_cannot_be_read_is_shown_as_it_was_until_it_can(by_file: Asking) -> None:
    by_file.token.unlink()
    by_file.now += 2 * RENEW_SECONDS
    with structlog.testing.capture_logs() as logs:
        assert await by_file.ask() == "Bearer first"
    assert [log["event"] for log in logs] == ["credentials cannot be renewed"]
    by_file.token.write_text("second")
    by_file.now += 2 * RENEW_SECONDS
    assert await by_file.ask() == "Bearer second"


async def test_a_plugin_that_hangs_keeps_nobody_from_asking(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked while what it said last still holds."""
    plugin = asking.folder / "plugin.py"
    said = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    expired = {"token": "first", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    plugin.write_text(f"print({json.dumps({**said, 'status': expired})!r})")
    config = json.loads((asking.folder / "kubeconfig").read_text())
    run = {"apiVersion": said["apiVersion"], "command": sys.executable, "args": [str(plugin)]}
    path = asking.write(config["clusters"][0]["cluster"]["server"], {"exec": run})
    monkeypatch.setenv("KUBECONFIG", str(path))
    asking.kube = KubeClient(await load_configuration(lambda: asking.now))
    go_on = asking.folder / "go-on"
    plugin.write_text(
        f"import pathlib, time\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)\n"
        f"print({json.dumps({**said, 'status': {'token': 'second'}})!r})"
    )
    asking.now += RENEW_SECONDS
    assert [await asking.ask() for _ in range(3)] == ["Bearer first"] * 3
    go_on.touch()
    await asking.until("Bearer second".__eq__)
