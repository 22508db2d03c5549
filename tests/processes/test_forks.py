"""Handlers that fork: the child is no second operator."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.unit.test_runner import Bench

from scheduledjobs.core.reasons import State

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.runner.close()


class Pipe:
    """What the processes of a test write, and when the last of them has ended."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()

    def say(self, word: str) -> None:
        os.write(self.writer, f"{word} {os.getpid()}\n".encode())

    def read(self) -> list[tuple[str, int]]:
        """Return the words and processes, once every process but this one has ended."""
        os.close(self.writer)
        text = b""
        while data := os.read(self._reader, 4096):
            text += data
        os.close(self._reader)
        return [(line.split()[0], int(line.split()[1])) for line in text.decode().splitlines()]


async def fork_async(_execution: Any, _payload: Any) -> None:
    os.fork()


async def fork_in_task(_execution: Any, _payload: Any) -> None:
    await asyncio.create_task(fork_async(None, None))


async def fork_in_thread(_execution: Any, _payload: Any) -> None:
    await asyncio.to_thread(os.fork)


def fork_sync(_execution: Any, _payload: Any) -> None:
    os.fork()


@pytest.mark.parametrize("fork", [fork_async, fork_in_task, fork_in_thread, fork_sync])
async def test_a_child_that_comes_back_is_ended_and_runs_nobody_on(bench: Bench, fork: Callable[..., Any]) -> None:
    pipe = Pipe()

    async def beside(_execution: Any, _payload: Any) -> None:
        await asyncio.sleep(0.3)
        pipe.say("beside")

    bench.begin(beside)
    assert (await bench.run(fork)).state is State.SUCCEEDED
    assert (await asyncio.wait_for(bench.endings.get(), 5)).state is State.SUCCEEDED
    assert await asyncio.wait_for(asyncio.to_thread(pipe.read), 5) == [("beside", os.getpid())]


async def test_a_child_has_no_connection_of_its_parent(bench: Bench) -> None:
    pipe, parent = Pipe(), os.getpid()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:

        async def handle(_execution: Any, _payload: Any) -> None:
            if os.fork() == 0:
                for each in (server, client):
                    pipe.say("socket" if stat.S_ISSOCK(os.fstat(each.fileno()).st_mode) else "nothing")
                os._exit(0)

        assert (await bench.run(handle)).state is State.SUCCEEDED
        said = await asyncio.to_thread(pipe.read)
        assert [word for word, _ in said] == ["nothing", "nothing"]
        assert parent not in {pid for _, pid in said}
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"it lives")
            assert client.recv(8) == b"it lives"


@pytest.fixture
async def terminated() -> AsyncIterator[asyncio.Event]:
    """Set by a SIGTERM to this process, as the operator takes one."""
    before, got = signal.getsignal(signal.SIGTERM), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, got.set)
    yield got
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


async def test_a_signal_to_a_child_does_not_reach_its_parent(bench: Bench, terminated: asyncio.Event) -> None:
    children: list[int] = []

    async def handle(_execution: Any, _payload: Any) -> None:
        child = os.fork()
        if child == 0:
            time.sleep(5)
            os._exit(0)
        children.append(child)

    assert (await bench.run(handle)).state is State.SUCCEEDED
    os.kill(children[0], signal.SIGTERM)
    _, status = await asyncio.to_thread(os.waitpid, children[0], 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    await asyncio.sleep(0)
    assert not terminated.is_set()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(terminated.wait(), 5)
