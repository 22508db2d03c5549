"""oban for Python: one row a job, which stays with its state for a day."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime
from typing import Any

import uvloop
from oban import Oban, worker
from oban.schema import install

BATCH = 1000
SETTINGS: dict[str, dict[str, Any]] = {
    "best": {"queues": {"default": {"limit": 500, "debounce_interval": 0.001}}, "stager": {"interval": 0.01}},
    "default": {"queues": {"default": 10}},
}
PROMPT = {"stager": {"interval": 0.001}}
"""What is best where jobs become due; a drain, in which none does, is slower by it."""

SEEN: list[tuple[float, float]] | None = None


@worker(queue="default")
class Noop:
    """The job that does nothing."""

    async def process(self, job: Any) -> None:
        """Keep when it was started."""
        if SEEN is not None:
            SEEN.append((job.args["due"], time.time() * 1000))


def create(url: str) -> None:
    """Make the schema."""

    async def make() -> None:
        pool = await Oban.create_pool(url)
        await install(pool)
        await pool.close()

    asyncio.run(make())


def insert(url: str, dues: list[float], _mode: str) -> None:
    """Insert a job for each due moment, in batches."""

    async def put() -> None:
        pool = await Oban.create_pool(url)
        oban = Oban(pool=pool)
        for start in range(0, len(dues), BATCH):
            await oban.enqueue_many([_job(due) for due in dues[start : start + BATCH]])
        await pool.close()

    asyncio.run(put())


def _job(due: float) -> Any:
    moment = {"scheduled_at": datetime.fromtimestamp(due / 1000, UTC)} if due else {}
    return Noop.new({"due": due}, **moment)  # type: ignore[attr-defined]


def work(url: str, mode: str, seen: list[tuple[float, float]] | None) -> None:
    """Run jobs until SIGTERM; what has ended stays in the table, so it has a history already."""
    global SEEN
    SEEN = seen

    async def run() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        pool = await Oban.create_pool(url)
        prompt = PROMPT if mode == "best" and seen is not None else {}
        async with Oban(pool=pool, **{**SETTINGS[mode], **prompt}):
            print("ready", flush=True)
            await stopping.wait()
        await pool.close()

    uvloop.run(run())
