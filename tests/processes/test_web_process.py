"""The web process's keeper, with a small program in place of the server; the real one is under tests/acceptance."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from scheduledjobs.web import process
from scheduledjobs.web.process import WebProcess
from scheduledjobs.web.protocol import SERVING

SERVES = f"import sys; sys.stdout.write({SERVING.decode()!r}); sys.stdout.flush(); sys.stdin.read()"


class Spawns:
    """Starts the small program, unless it is told that there is no room for a process."""

    def __init__(self) -> None:
        self.errors: list[Exception | None] = []
        """What comes of the next ones; None for a process."""

        self.began: list[asyncio.subprocess.Process] = []
        self._exec = asyncio.create_subprocess_exec

    async def __call__(self, *_: Any, **settings: Any) -> asyncio.subprocess.Process:
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.began.append(made := await self._exec(sys.executable, "-c", SERVES, **settings))
        return made


@pytest.fixture
def spawns(monkeypatch: pytest.MonkeyPatch) -> Spawns:
    found = Spawns()
    monkeypatch.setattr(process.asyncio, "create_subprocess_exec", found)
    monkeypatch.setattr(process, "AGAIN_SECONDS", 0.0)
    return found


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


def refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error",
    [refused(errno.EAGAIN), refused(errno.ENOMEM), refused(errno.EMFILE), RuntimeError("can't start new thread")],
    ids=["pids", "memory", "files", "threads"],
)
async def test_a_process_that_cannot_begin_is_tried_again(spawns: Spawns, error: Exception) -> None:
    spawns.errors = [None, error, error, error]
    with structlog.testing.capture_logs() as logs:
        async with WebProcess("127.0.0.1", 0) as web:
            await until(lambda: web.is_serving)
            spawns.began[0].kill()
            await until(lambda: len(spawns.began) == 2 and web.is_serving)
    told = [log for log in logs if log["event"] == "the process of REST and pages cannot begin: it is tried again"]
    assert [log["failures"] for log in told] == [1, 2]
    assert str(error) in told[0]["error"]


async def test_a_replica_ends_while_its_web_process_cannot_begin(spawns: Spawns) -> None:
    spawns.errors = [refused(errno.EAGAIN)] * 1000
    async with WebProcess("127.0.0.1", 0) as web:
        await until(lambda: len(spawns.errors) < 990)
        assert not web.is_serving
