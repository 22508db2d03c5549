"""Threads of the handlers' loop: job code that fills them holds up neither others' nor the program's own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_runner import Bench

from scheduledjobs.core.reasons import State
from scheduledjobs.handlers import Execution
from scheduledjobs.handlers.credentials import allow_credentials
from scheduledjobs.handlers.http import HttpPayload, allow, http
from scheduledjobs.handlers.sql import SqlPayload, allow_connections, sql

MANY = 100


class Full(Bench):
    """A runner, one of whose attempts waits in as many threads as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    async def fill(self, count: int, call: Callable[[], Awaitable[Any]] | None = None) -> None:
        """Wait this many times at once in a thread: in `asyncio.to_thread`, or in what else is called."""
        has_filled = threading.Event()

        def in_thread() -> Awaitable[Any]:
            return asyncio.to_thread(self.let_go.wait, 30)

        async def wait(_execution: Execution, _payload: Any) -> None:
            waiting = asyncio.gather(*((call or in_thread)() for _ in range(count)))
            await asyncio.sleep(0)
            has_filled.set()
            await waiting

        self.begin(wait)
        assert await asyncio.to_thread(has_filled.wait, 5)


@pytest.fixture
async def full() -> AsyncIterator[Full]:
    made = Full()
    yield made
    made.let_go.set()
    await made.runner.close()


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port of localhost that refuses: what needs a thread is done by then."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
    allow([])
    allow_credentials({})
    allow_connections("", {})


async def test_an_attempt_that_takes_some_threads_holds_up_no_other(full: Full) -> None:
    async def handle(_execution: Execution, _payload: Any) -> int:
        return await asyncio.to_thread(lambda: 7)

    await full.fill(32)  # more than Python would have on any machine
    assert (await full.run(handle)).result == b"7"


async def test_http_and_sql_read_secrets_and_look_names_up_though_job_code_fills_the_threads(
    full: Full, tmp_path: Path, refusing: int
) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "url").write_text(f"postgresql://jobs@localhost:{refusing}/main")
    allow(["127.0.0.0/8", "::1/128"])
    hosts = [f"http://localhost:{refusing}"]
    allow_credentials({"reports": {"namespaces": ["default"], "path": str(tmp_path), "hosts": hosts}})
    allow_connections("", {"warehouse": {"namespaces": ["default"], "url_file": str(tmp_path / "url")}})
    await full.fill(MANY)
    url = f"http://localhost:{refusing}/"
    for ending in (
        await full.run(http, model=HttpPayload, url=url, credential="reports"),
        await full.run(sql, model=SqlPayload, connection="warehouse", statement="SELECT 1"),
    ):
        assert ending.state is State.FAILED
        assert "refused" in (ending.message or "").lower() or "connect" in (ending.message or "").lower()


async def test_secrets_are_read_though_names_that_no_server_answers_fill_the_threads_of_look_ups(
    full: Full, tmp_path: Path, refusing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: Any, **_hints: Any) -> Any:
        full.let_go.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "no server answers")

    def look_up() -> Awaitable[Any]:
        return asyncio.get_running_loop().getaddrinfo("silent.example", 80)

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    (tmp_path / "token").write_text("secret")
    (tmp_path / "url").write_text(f"postgresql://jobs@127.0.0.1:{refusing}/main")
    allow(["127.0.0.0/8"])
    url = f"http://127.0.0.1:{refusing}"
    allow_credentials({"reports": {"namespaces": ["default"], "path": str(tmp_path), "hosts": [url]}})
    allow_connections("", {"warehouse": {"namespaces": ["default"], "url_file": str(tmp_path / "url")}})
    await full.fill(MANY, look_up)
    for ending in (
        await full.run(http, model=HttpPayload, url=url, credential="reports"),
        await full.run(sql, model=SqlPayload, connection="warehouse", statement="SELECT 1"),
    ):
        assert ending.state is State.FAILED
        assert "refused" in (ending.message or "").lower() or "connect" in (ending.message or "").lower()
