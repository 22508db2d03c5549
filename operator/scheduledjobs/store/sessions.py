"""Connections: who has how many, what each may wait for, and driver errors turned into ours once, here.

Control work (heartbeat, LISTEN, the leader's writes) never shares a connection with anything that a user's code or
page can hold. A session says in its `application_name` what it is, so that `pg_stat_activity` reads like a list of
our parts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from scheduledjobs.errors import StoreError, StoreUnavailable

Connection = AsyncConnection[Any]

CONNECT_SECONDS = 5

KEEPALIVE: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A peer that vanished without a FIN is noticed after about ten seconds, on both sides of the link."""

POINT_READS = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""Settings of a session whose statements only ever want a few rows by an index.

A plan that is kept may have been made while a day's partition was empty, when reading it whole is cheapest, and stays
until the next ANALYZE: by then it reads a hundred thousand rows for each claim."""


def options(**settings: str) -> str:
    """Return libpq's `options` for server settings of one session: `options(lock_timeout="2s")`."""
    return " ".join(f"-c {name}={value}" for name, value in {"timezone": "UTC", **settings}.items())


@asynccontextmanager
async def our_errors() -> AsyncIterator[None]:
    """Turn the driver's errors into ours: `StoreUnavailable` for a broken link, `StoreError` for a refusal."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed, OSError) as error:
        raise StoreUnavailable(first_line(error)) from error
    except psycopg.Error as error:
        raise StoreError(first_line(error)) from error


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@asynccontextmanager
async def connect(url: str, application_name: str, **settings: str) -> AsyncIterator[Connection]:
    """Open one connection of its own in autocommit; the block's driver errors come out as ours."""
    async with our_errors():
        conn = await AsyncConnection.connect(
            url, autocommit=True, application_name=application_name, options=options(**settings), **KEEPALIVE
        )
        try:
            yield conn
        finally:
            await conn.close()


def is_url(url: str) -> bool:
    """Return whether libpq can read this address; what it says of one that it cannot read may hold the password."""
    try:
        return url.startswith(("postgresql://", "postgres://")) and bool(conninfo_to_dict(url))
    except psycopg.Error:
        return False


class Sessions:
    """A fixed number of connections for one kind of work, opened on `async with`, reconnecting by itself."""

    def __init__(self, url: str, application_name: str, *, size: int, **settings: str) -> None:
        kwargs = {
            "autocommit": True,
            "application_name": application_name,
            "options": options(**settings),
            **KEEPALIVE,
        }
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url, kwargs=kwargs, min_size=size, max_size=size, timeout=CONNECT_SECONDS, open=False, name=application_name
        )

    async def __aenter__(self) -> Sessions:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close(timeout=2)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit: each statement is its own transaction."""
        async with our_errors(), self._pool.connection() as conn:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside one READ COMMITTED transaction that commits at the end of the block."""
        async with our_errors(), self._pool.connection() as conn, conn.transaction():
            yield conn
