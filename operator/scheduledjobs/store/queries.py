"""Every SQL statement is a named file in queries/: one statement each, its first comment says what it is for.

Placeholders are named (`%(name)s`) and never inside quotes. Batches are one JSON array, read by
`json_to_recordset`, so a statement takes any number of rows and shows their columns and types itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from time import perf_counter
from typing import Any

import orjson
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row

from scheduledjobs import metrics

Row = dict[str, Any]


@cache
def sql(name: str) -> bytes:
    """Return the text of queries/NAME.sql; `FileNotFoundError` where there is none."""
    return (files(__package__) / "queries" / f"{name}.sql").read_bytes()


def names() -> list[str]:
    """Return the names of all statements, sorted."""
    return sorted(file.name.removesuffix(".sql") for file in (files(__package__) / "queries").iterdir())


def batch(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as the JSON array that a batch statement takes; instants with microseconds, UUIDs as text."""
    return orjson.dumps(list(rows)).decode()


async def send(cursor: AsyncCursor[Any], name: str, **params: Any) -> None:
    """Run a statement on a cursor; in a pipeline it is on its way until something is fetched."""
    await cursor.execute(sql(name), params, prepare=True)


async def fetch_all(conn: AsyncConnection[Any], name: str, **params: Any) -> list[Row]:
    """Run a statement and return its rows, in the statement's order."""
    began = perf_counter()
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql(name), params, prepare=True)
        rows = await cursor.fetchall()
    metrics.queries(name).observe(perf_counter() - began)
    return rows


async def fetch_one(conn: AsyncConnection[Any], name: str, **params: Any) -> Row | None:
    """Run a statement and return its first row, or None."""
    began = perf_counter()
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql(name), params, prepare=True)
        row = await cursor.fetchone()
    metrics.queries(name).observe(perf_counter() - began)
    return row


async def execute(conn: AsyncConnection[Any], name: str, **params: Any) -> int:
    """Run a statement and return how many rows it changed."""
    began = perf_counter()
    async with conn.cursor() as cursor:
        await cursor.execute(sql(name), params, prepare=True)
        count = cursor.rowcount
    metrics.queries(name).observe(perf_counter() - began)
    return count
