"""What a connection to REST and pages may do before it has sent a request: not much, and not for long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn

from scheduledjobs.web import connection
from scheduledjobs.web.connection import AtMost, Connection

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


class Site:
    """Answers what was sent to it, once it may."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        await self.open.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(site: Site, most: int = 100) -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        AtMost(site, most), http=Connection, lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup([listening])
    try:
        yield listening.getsockname()[1]
    finally:
        await server.shutdown([listening])


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side closes; what was sent after it had closed makes a reset of that."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def answered(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", GET[:-2], HEAD + b"abc"], ids=["nothing", "a bit", "no end", "body"]
)
async def test_a_request_that_does_not_come_whole_in_time_is_not_waited_for(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ARRIVAL_SECONDS", 0.05)
    async with serving(Site()) as port, connected(port) as (reader, writer):
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_nor_is_a_second_one_that_is_sent_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ARRIVAL_SECONDS", 0.2)
    async with serving(Site()) as port, connected(port) as (reader, writer):
        writer.write(GET)
        assert b" 200 " in await answered(reader)
        closed = asyncio.create_task(ended(reader))
        for number in range(1000):
            if closed.done():
                break
            writer.write(b"GET / HTTP/1.1\r\nX: "[number : number + 1] or b"y")
            await asyncio.wait([closed], timeout=0.02)
        assert closed.done()
        assert await closed == b""


async def test_a_request_that_has_come_is_answered_however_long_that_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ARRIVAL_SECONDS", 0.05)
    site = Site()
    site.open.clear()
    async with serving(site) as port, connected(port) as (reader, writer), connected(port) as (later, _):
        writer.write(HEAD + b"body")
        assert await asyncio.wait_for(later.read(), 5) == b""  # by then the time of the first is over, too
        site.open.set()
        assert b" 200 " in await answered(reader)


async def test_connections_without_a_request_take_no_place_of_one() -> None:
    site = Site()
    async with serving(site, most=2) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        async with connected(port) as (reader, writer):
            writer.write(GET)
            assert b" 200 " in await answered(reader)
        site.open.clear()
        for _, writer in silent[:3]:
            writer.write(GET)
        assert b" 503 " in await answered(silent[2][0])
        site.open.set()
        assert [b" 200 " in await answered(reader) for reader, _ in silent[:2]] == [True, True]
        for _, writer in silent:
            writer.close()
