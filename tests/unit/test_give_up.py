"""Giving up: what runs on a replica that was declared dead ends, or the process does."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from pydantic import SecretStr
from tests.unit.assigned import assigned

from scheduledjobs import app
from scheduledjobs.app import App
from scheduledjobs.handlers import Execution, Handler
from scheduledjobs.handlers.registry import AnyPayload
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.settings import Settings
from scheduledjobs.steps import give_up
from scheduledjobs.steps.loop import Loops


class Lease:
    """An API server with one Lease, which nobody holds."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.looked = asyncio.Event()

    async def request(self, verb: str, _path: str, **_: Any) -> dict[str, Any]:
        self.asked.append(verb)
        self.looked.set()
        return {"metadata": {"resourceVersion": "1"}, "spec": {}}

    async def look(self) -> None:
        """Wait for a look that begins from now on."""
        self.looked.clear()
        await asyncio.wait_for(self.looked.wait(), 5)


class Bench:
    """A replica with its runner alone, which is registered and may run; `exited` holds what it would exit with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(database_url=SecretStr("postgresql://localhost/db"), web=False, drain_seconds=3600)
        self.lease = Lease()
        self.app = App(settings, cast("KubeClient", self.lease))
        self.runner = self.app._runner
        self.exited: asyncio.Queue[int] = asyncio.Queue()
        self.release, self.begun = threading.Event(), threading.Event()
        self._number = 0
        monkeypatch.setattr(os, "_exit", self.exited.put_nowait)
        monkeypatch.setattr(give_up, "STOP_SECONDS", 0.05)
        self.runner.start()
        self.register()

    def register(self) -> None:
        self.app._heartbeat.replica = UUID(int=1)
        self.app._on_registered(UUID(int=1))
        self.app._on_beat(time.monotonic())

    def die(self) -> None:
        self.app._heartbeat.replica = None
        self.app._heartbeat._on_dead()

    async def begin(self, *, is_async: bool) -> None:
        async def wait(_execution: Execution, _payload: Any) -> None:
            self.begun.set()
            await asyncio.sleep(60)

        def block(_execution: Execution, _payload: Any) -> None:
            self.begun.set()
            self.release.wait(10)

        self._number += 1
        self.begun.clear()
        name = f"handler-{self._number}"
        self.app._registry.add(Handler(name, wait if is_async else block, AnyPayload, is_async))
        self.runner.submit([assigned(self._number, name)])
        assert await asyncio.to_thread(self.begun.wait, 5)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    assert give_up.STOP_SECONDS == 1.0
    made = Bench(monkeypatch)
    yield made
    made.release.set()
    await made.runner.close()


@pytest.mark.parametrize("comes_back", [True, False], ids=["registered anew", "registering fails"])
async def test_a_replica_declared_dead_exits_while_a_sync_handler_runs_on(bench: Bench, comes_back: bool) -> None:  # noqa: FBT001
    await bench.begin(is_async=False)
    bench.die()
    if comes_back:
        bench.register()
    assert await asyncio.wait_for(bench.exited.get(), 5) == 1


async def test_a_replica_declared_dead_lives_where_all_that_ran_has_ended(bench: Bench) -> None:
    await bench.begin(is_async=True)
    bench.die()
    bench.register()
    while bench.runner.running:
        await asyncio.sleep(0.001)
    await bench.begin(is_async=False)  # under the new id: another claim, and nobody else's
    bench.app._give_up.look()
    assert bench.exited.empty()


async def test_a_replica_past_its_trust_exits_while_a_sync_handler_runs_on(bench: Bench) -> None:
    await bench.begin(is_async=False)
    bench.app._on_beat(time.monotonic() - 100)
    await bench.app._give_up.step()
    assert bench.exited.get_nowait() == 1


async def test_a_replica_that_is_heard_again_in_time_keeps_a_sync_handler(bench: Bench) -> None:
    await bench.begin(is_async=False)
    bench.app._on_beat(time.monotonic() - 100)
    stopping = asyncio.create_task(bench.app._give_up.step())
    await asyncio.sleep(0)
    bench.app._on_beat(time.monotonic())
    await stopping
    assert bench.exited.empty()


async def test_a_replica_that_stops_lets_its_work_go_on_through_an_outage_of_the_database(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that does not stop: it sees that nobody holds the Lease, so that nobody can rescue. It takes no Lease."""
    await bench.begin(is_async=False)
    now = time.monotonic()
    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    monkeypatch.setattr(app, "PROBE_SECONDS", 0.01)
    bench.app._on_beat(now)
    bench.app._on_lease(False, "", now)
    loops = Loops()
    loops.start("elect", asyncio.Event().wait)  # type: ignore[arg-type]
    stopping = asyncio.create_task(bench.app._shut_down(loops))
    try:
        for _ in range(10):
            await bench.lease.look()
            await bench.lease.look()  # what the one before has told of is known
            now += 2.0  # without a heartbeat
        await bench.app._give_up.step()
        assert bench.exited.empty()
        assert bench.runner.running
        assert set(bench.lease.asked) == {"GET"}
    finally:
        stopping.cancel()
        await asyncio.wait({stopping})
        await loops.end()
