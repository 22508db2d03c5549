"""PgQueuer: rows of the queue are deleted when they end, and each change of their state is a row of its log."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job

BATCH = 1000
MOMENTS = """
UPDATE pgqueuer SET execute_after = to_timestamp(convert_from(payload, 'UTF8')::float8 / 1000) WHERE status = 'queued'
"""
SETTINGS = {"best": {"batch_size": 500, "dequeue_timeout": timedelta(seconds=1)}, "default": {}}


async def _queries(url: str) -> tuple[asyncpg.Connection, Queries]:
    connection = await asyncpg.connect(url)
    return connection, Queries(AsyncpgDriver(connection))


def create(url: str) -> None:
    """Make the schema."""

    async def make() -> None:
        connection, queries = await _queries(url)
        await queries.install()
        await connection.close()

    asyncio.run(make())


def insert(url: str, dues: list[float], mode: str) -> None:
    """Insert a job for each due moment, in batches.

    It takes a delay instead of a moment, counted from when the batch has come to the server: afterwards each job is
    given its moment.
    """

    async def put() -> None:
        connection, queries = await _queries(url)
        if mode == "best":
            await queries.optimize_autovacuum()
        for start in range(0, len(dues), BATCH):
            part = dues[start : start + BATCH]
            payloads: list[bytes | None] = [str(due).encode() for due in part]
            now = time.time() * 1000
            delays = [timedelta(milliseconds=due - now) if due else None for due in part]
            await queries.enqueue(["noop"] * len(part), payloads, [0] * len(part), delays)
        if dues and dues[0]:
            await connection.execute(MOMENTS)
        await connection.close()

    asyncio.run(put())


def work(url: str, mode: str, seen: list[tuple[float, float]] | None) -> None:
    """Run jobs until SIGTERM; its log is its history."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        queue = PgQueuer(AsyncpgDriver(connection))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, queue.shutdown.set)

        @queue.entrypoint("noop")
        async def noop(job: Job) -> None:
            if seen is not None:
                seen.append((float(job.payload or 0), time.time() * 1000))

        print("ready", flush=True)
        await queue.run(**SETTINGS[mode])

    uvloop.run(run())
