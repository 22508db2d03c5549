"""What `import` reads in databases of other schedulers: pg_cron's tables and those of django-celery-beat.

They are not ours, so their statements are in a folder of their own, and the session can only read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.resources import files
from typing import Any

from psycopg.rows import dict_row

from scheduledjobs.store.sessions import Connection, connect

Row = dict[str, Any]


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Connection]:
    """Lend a connection that cannot write; `StoreUnavailable` or `StoreError` as ever."""
    settings = {"default_transaction_read_only": "on", "statement_timeout": "30s"}
    async with connect(url, "scheduledjobs import", **settings) as conn:
        yield conn


async def list_cron_jobs(conn: Connection) -> list[Row]:
    """Return the rows of cron.job that this user may see, by jobid: his own, or all for a superuser."""
    return [row["job"] for row in await _fetch(conn, "list_cron_jobs")]


async def list_cron_runs(conn: Connection, since: datetime) -> list[Row]:
    """Return jobid and start_time of what has been started since a moment."""
    return await _fetch(conn, "list_cron_runs", since=since)


async def read_cron_zone(conn: Connection) -> Row:
    """Return `zone`, the setting cron.timezone, and `now`, the database's time."""
    (row,) = await _fetch(conn, "read_cron_zone")
    return row


async def list_beat_tasks(conn: Connection) -> list[Row]:
    """Return each task with its crontab, interval, clocked and solar schedule as JSON objects, all but one None."""
    return await _fetch(conn, "list_beat_tasks")


async def _fetch(conn: Connection, name: str, **params: Any) -> list[Row]:
    text = (files(__package__) / "foreign" / f"{name}.sql").read_bytes()
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(text, params)
        return await cursor.fetchall()
