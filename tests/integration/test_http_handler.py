"""The http handler against a server on loopback."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from scheduledjobs.core.reasons import Trigger
from scheduledjobs.errors import Permanent
from scheduledjobs.handlers import Execution
from scheduledjobs.handlers.http import AddressRefused, HttpError, HttpPayload, allow, http

EXECUTION = Execution(
    "default", "job", UUID(int=1), datetime(2026, 11, 23, tzinfo=UTC), 1, Trigger.SCHEDULE, "", None, None, None
)


@pytest.fixture(autouse=True)
def loopback_allowed() -> Iterator[None]:
    allow(["127.0.0.0/8"])
    yield
    allow([])


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[web.Request]]]:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request)
        status = int(request.match_info["status"])
        return web.Response(status=status, text="what went wrong", headers={"Location": "http://169.254.169.254/"})

    app = web.Application()
    app.router.add_route("*", "/{status}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    await runner.cleanup()


async def call(url: str, **payload: Any) -> Any:
    return await http(EXECUTION, HttpPayload.model_validate({"url": url, **payload}))


async def test_sends_the_request_with_its_idempotency_key(server: tuple[str, list[web.Request]]) -> None:
    url, seen = server
    sent = {"Idempotency-Key": "forged", "X-Team": "finance"}
    assert await call(f"{url}/200", method="POST", headers=sent, body={"n": 1}) == {"status": 200, "bytes": 15}
    assert seen[0].headers["Idempotency-Key"] == EXECUTION.idempotency_key
    assert seen[0].headers["X-Team"] == "finance"
    assert await seen[0].json() == {"n": 1}


@pytest.mark.parametrize(("status", "error"), [(404, Permanent), (302, Permanent), (429, HttpError), (503, HttpError)])
async def test_fails_on_what_is_not_2xx(server: tuple[str, Any], status: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=str(status)):
        await call(f"{server[0]}/{status}")


async def test_a_redirect_is_not_followed(server: tuple[str, list[web.Request]]) -> None:
    with pytest.raises(Permanent, match="redirects are not followed"):
        await call(f"{server[0]}/307")
    assert len(server[1]) == 1


async def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(HttpError, match=f"127.0.0.1:{port}"):
        await call(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433"])
async def test_loopback_is_refused_unless_it_is_allowed(server: tuple[str, Any], host: str) -> None:
    allow([])
    port = server[0].rsplit(":", 1)[1]
    with pytest.raises(AddressRefused):
        await call(f"http://{host}:{port}/200")
    assert server[1] == []


async def test_a_name_of_ours_is_sent_once_however_the_payload_spells_it(server: tuple[str, list[web.Request]]) -> None:
    url, seen = server
    await call(f"{url}/200", headers={"idempotency-KEY": "forged", "user-agent": "mine"})
    assert seen[0].headers.getall("Idempotency-Key") == [EXECUTION.idempotency_key]
    assert seen[0].headers.getall("User-Agent") == ["mine"]


class Rebinding(AbstractResolver):
    """Answers another address each time it is asked."""

    def __init__(self, *addresses: str) -> None:
        self.answers = list(addresses)

    async def resolve(self, host: str, port: int = 0, *_: Any) -> list[ResolveResult]:
        address = self.answers.pop(0)
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [{"hostname": host, "host": address, "port": port, "family": kind, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing is held open."""


async def test_a_name_that_answers_another_address_the_next_time_gains_nothing(
    server: tuple[str, list[web.Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is checked is what is connected to: the name is looked up once, and again for the next execution."""
    allow(["127.0.0.1/32"])  # stands for a public address
    rebinding = Rebinding("127.0.0.1", "127.0.0.2", "::ffff:127.0.0.2", "169.254.169.254")
    monkeypatch.setattr("scheduledjobs.handlers.http.ThreadedResolver", lambda: rebinding)
    url, seen = server
    url = url.replace("127.0.0.1", "rebind.example")
    assert (await call(f"{url}/200"))["status"] == 200
    assert len(rebinding.answers) == 3
    for _ in range(3):
        with pytest.raises(AddressRefused):
            await call(f"{url}/200")
    assert (len(rebinding.answers), len(seen)) == (0, 1)


async def test_an_answer_that_never_ends_is_read_as_far_as_is_kept() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 16 * 1024)
        return response

    app = web.Application()
    app.router.add_get("/", endless)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    assert await call(f"http://127.0.0.1:{runner.addresses[0][1]}/") == {"status": 200, "bytes": 64 * 1024}
    await runner.cleanup()
