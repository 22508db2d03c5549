"""The authority that vouches for the API server, which may be another one while a replica runs."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from kubernetes.aio import client

from scheduledjobs.errors import KubeUnavailable
from scheduledjobs.kube.caller import ANYBODY, Caller, Callers
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.kube.renewal import TRUST_SECONDS


def certificate(folder: Path, name: str) -> Path:
    """Make a certificate of 127.0.0.1 that vouches for itself; its key is beside it."""
    cert = folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(cert.with_suffix(".key")), "-out", str(cert), "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "keyUsage=digitalSignature,keyCertSign"]
    subprocess.run(command, check=True, capture_output=True)
    return cert


@asynccontextmanager
async def serving(cert: Path) -> AsyncIterator[str]:
    """Serve with this certificate; yield the address."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, cert.with_suffix(".key"))
    app = web.Application()
    app.router.add_get("/api", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Rotation:
    """A file that holds the authority before a rotation, and an API server after it."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "ca.crt"
        self.after = certificate(folder, "after")
        self.ca.write_text(certificate(folder, "before").read_text())
        self.configuration = client.Configuration()
        self.configuration.ssl_ca_cert = str(self.ca)
        self.configuration.retries = None
        self.now = 1000.0
        self.clients: list[KubeClient] = []

    def client(self) -> KubeClient:
        """Return a client of the API server."""
        self.clients.append(KubeClient(self.configuration, lambda: self.now))
        return self.clients[-1]


@pytest.fixture
async def rotation(tmp_path: Path) -> AsyncIterator[Rotation]:
    found = Rotation(tmp_path)
    async with serving(found.after) as found.configuration.host:
        yield found
        for kube in found.clients:
            await kube.api.close()


async def test_an_authority_that_was_written_anew_is_believed_ten_minutes_later(rotation: Rotation) -> None:
    kube = rotation.client()
    with pytest.raises(KubeUnavailable, match="certificate verify failed"):
        await kube.request("GET", "/api")
    rotation.ca.write_text(rotation.after.read_text())
    rotation.now += TRUST_SECONDS
    assert await kube.request("GET", "/api") == {}


async def test_callers_believe_it_too(rotation: Rotation) -> None:
    async with Callers(rotation.configuration, lambda: rotation.now) as callers:
        rotation.ca.write_text(rotation.after.read_text())
        rotation.now += TRUST_SECONDS
        for caller in (ANYBODY, Caller("jane", (), "token")):
            assert await callers.request(caller, "GET", "/api") == {}


async def test_where_no_authority_can_be_read_the_old_one_is_believed(rotation: Rotation) -> None:
    rotation.ca.write_text(rotation.after.read_text())
    kube = rotation.client()
    rotation.ca.write_text("")
    rotation.now += TRUST_SECONDS
    with structlog.testing.capture_logs() as logs:
        assert await kube.request("GET", "/api") == {}
    assert [log["event"] for log in logs] == ["credentials cannot be renewed"]
