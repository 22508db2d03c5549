"""Giving up: what runs on a replica that was declared dead ends, or the process does."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import pytest
from pydantic import SecretStr
from tests.unit.assigned import assigned

from scheduledjobs.app import App
from scheduledjobs.handlers import Execution, Handler
from scheduledjobs.handlers.registry import AnyPayload
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.settings import Settings
from scheduledjobs.steps import give_up


class Bench:
    """A replica with its runner alone, which is registered and may run; `exited` holds what it would exit with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(database_url=SecretStr("postgresql://localhost/db"), web=False)
        self.app = App(settings, cast("KubeClient", None))
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
