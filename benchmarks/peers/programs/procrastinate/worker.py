"""procrastinate: one row a job, which stays with its state; a worker fetches one job at a time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from procrastinate import App, PsycopgConnector

BATCH = 1000
SETTINGS = {"best": {"concurrency": 30, "fetch_job_polling_interval": 0.001}, "default": {}}
CONNECTIONS = {"best": {"min_size": 4, "max_size": 32}, "default": {}}


def _app(url: str, mode: str = "default") -> App:
    return App(connector=PsycopgConnector(conninfo=url, **CONNECTIONS[mode]))


def create(url: str) -> None:
    """Make the schema."""

    async def make() -> None:
        async with _app(url).open_async() as app:
            await app.schema_manager.apply_schema_async()

    asyncio.run(make())


def insert(url: str, dues: list[float], _mode: str) -> None:
    """Insert a job for each due moment, in batches."""

    async def put() -> None:
        app = _app(url)
        noop = app.task(name="noop")(lambda **_: None)
        async with app.open_async():
            jobs = [noop.configure(schedule_at=_moment(due)).make_new_job(due=due) for due in dues]
            for start in range(0, len(jobs), BATCH):
                await app.job_manager.batch_defer_jobs_async(jobs=jobs[start : start + BATCH])

    asyncio.run(put())


def _moment(due: float) -> datetime | None:
    return datetime.fromtimestamp(due / 1000, UTC) if due else None


def work(url: str, mode: str, seen: list[tuple[float, float]] | None) -> None:
    """Run jobs until SIGTERM; what has ended stays in the table, so it has a history already."""
    app = _app(url, mode)

    @app.task(name="noop")
    async def noop(due: float) -> None:
        if seen is not None:
            seen.append((due, time.time() * 1000))

    async def run() -> None:
        async with app.open_async():
            print("ready", flush=True)
            await app.run_worker_async(**SETTINGS[mode])

    asyncio.run(run())
