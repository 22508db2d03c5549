"""Connections: who has how many, what each may wait for, and driver errors turned into ours once, here.

Control work (heartbeat, LISTEN, the leader's writes) never shares a connection with anything that a user's code or
page can hold. A session says in its `application_name` what it is, so that `pg_stat_activity` reads like a list of
our parts.

Nobody waits for a silent server longer than his patience: then the connection is severed, and whoever waits sees a
broken link. TCP cannot be left to do that. A proxy or load balancer between here and the server goes on answering
keepalives, whatever has become of the server behind it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from typing import Any

import orjson
import psycopg
import structlog
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.json import set_json_loads

from scheduledjobs.errors import StoreBusy, StoreError, StoreUnavailable

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5
PATIENCE_SECONDS = 3.0
"""How long one answer of the server may take, unless the work is known to be long: longer than a session's own limits
on the server, so that a server that lives says itself what is wrong."""

CANCEL_SECONDS = 0.5
WAKE_SECONDS = 60.0
LOOK_SECONDS = 0.5
SUSPECT_SECONDS = 1.0
"""Once one connection is found silent, others are given up that have waited for so long: it is the same link."""

KEEPALIVE: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A server that vanished without a FIN is noticed after about ten seconds, even by who waits for no answer."""

EVERY_SESSION = {
    "timezone": "UTC",
    "default_transaction_isolation": "read\\ committed",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "jit": "off",
}
"""Whatever the database or the role was given as a default; and the server notices that we have vanished, too: two
hours by default, for which such a session would hold its place, its locks and a leader's seat.

Statements that take milliseconds are not compiled: where much waits their cost is guessed so high that the server would
compile them at each execution, for seconds."""

# A float of a resource that has no fraction is kept by jsonb as an integer, of hundreds of digits even. The standard
# library reads that as one, which then cannot be written as JSON; orjson reads back the float.
set_json_loads(orjson.loads)

POINT_READS = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""Settings of a session whose statements only ever want a few rows by an index.

A plan that is kept may have been made while a day's partition was empty, when reading it whole is cheapest, and stays
until the next ANALYZE: by then it reads a hundred thousand rows for each claim."""

BUSY = (errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected, errors.SerializationFailure)
ENDED = (errors.TransactionTimeout, errors.IdleInTransactionSessionTimeout, errors.IdleSessionTimeout)
"""The server ended the session; the driver calls these internal errors."""

READ_ONLY = errors.ReadOnlySqlTransaction
"""The server takes no writes: it is a standby now, or its provider has closed it. The driver calls it internal."""

READS_ONLY = "default_transaction_read_only"


def options(**settings: str) -> str:
    """Return libpq's `options` for server settings of one session: `options(lock_timeout="2s")`."""
    return " ".join(f"-c {name}={value}" for name, value in {**EVERY_SESSION, **settings}.items())


@asynccontextmanager
async def our_errors() -> AsyncIterator[None]:
    """Turn the driver's errors into ours: `StoreUnavailable` for a broken link, `StoreBusy` for a lock that was waited
    for in vain, `StoreError` for a refusal."""
    try:
        yield
    except BUSY as error:
        raise StoreBusy(first_line(error)) from error
    except (psycopg.OperationalError, psycopg.InterfaceError, READ_ONLY, *ENDED, OSError) as error:
        raise StoreUnavailable(first_line(error)) from error
    except psycopg.Error as error:
        raise StoreError(first_line(error)) from error


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class Connection(AsyncConnection[Any]):
    """A connection that can be severed while somebody waits for an answer on it."""

    waits_since: float | None = None
    patience = PATIENCE_SECONDS
    is_severed = False

    async def wait(self, gen: Any, interval: float = WAKE_SECONDS, timeout: float | None = None) -> Any:  # noqa: ASYNC109 the driver's signature
        """Await an answer, as the driver does, and say since when.

        The driver would wake ten times a second to look for Ctrl-C, which asyncio brings without being asked.
        """
        self.waits_since = time.monotonic()
        try:
            return await super().wait(gen, interval, timeout)
        finally:
            self.waits_since = None

    def sever(self) -> None:
        """Break the link now: whoever waits for an answer fails at once, and so does whoever comes next."""
        self.is_severed = True
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self.pgconn.socket)) as link:
            link.shutdown(socket.SHUT_RDWR)

    async def cancel_safe(self, *, timeout: float = CANCEL_SECONDS) -> None:  # noqa: ASYNC109 the driver's signature
        """End a statement whose task was cancelled: ask the server, but do not wait for what it says.

        The driver would wait ten seconds for a silent one; so long nobody could step down, or be cancelled.
        """
        with suppress(psycopg.Error, OSError):
            await super().cancel_safe(timeout=min(timeout, CANCEL_SECONDS))
        self.sever()

    @contextmanager
    def bounded(self, seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
        """Sever the connection if the block takes longer."""
        timer = asyncio.get_running_loop().call_later(seconds, self.sever)
        try:
            yield
        finally:
            timer.cancel()


async def settle(conn: Connection) -> None:
    """Wait until all that was sent is answered, if this is a pipeline; then the driver knows where it stands."""
    if conn.pgconn.pipeline_status:
        async with conn.pipeline() as pipeline:
            await pipeline.sync()


async def _open(url: str, application_name: str, settings: Mapping[str, str], *, is_primary: bool = True) -> Connection:
    """After a fail-over the address may lead to the old primary for a while: as a standby it answers what only reads,
    so an election would call it a database, and whoever had connected to it would stay there for good."""
    attrs = conninfo_to_dict(url).get("target_session_attrs")
    # libpq takes what is to be read only by our own settings for a server that takes no writes.
    if settings.get(READS_ONLY) == "on" if attrs == "read-write" else is_primary:
        attrs = "primary"
    said = {"application_name": application_name, "options": options(**settings), **KEEPALIVE}
    return await Connection.connect(url, autocommit=True, target_session_attrs=attrs, **said)


@asynccontextmanager
async def connect(url: str, application_name: str, **settings: str) -> AsyncIterator[Connection]:
    """Open one connection of its own in autocommit; the block's driver errors come out as ours.

    Only to a primary; one that is to be read only may be to a standby, if the address leads to one.
    """
    async with our_errors():
        conn = await _open(url, application_name, settings, is_primary=settings.get(READS_ONLY) != "on")
        try:
            yield conn
        finally:
            await conn.close()


@asynccontextmanager
async def connect_elsewhere(url: str, application_name: str) -> AsyncIterator[Connection]:
    """As `connect`, to a database that need not be ours: what its address says goes before what we would say.

    The driver would take our parameters and drop the address's: its `options` with a search_path, to begin with.
    """
    said = conninfo_to_dict(url)
    ours = {"application_name": application_name, **KEEPALIVE}
    unsaid = {name: value for name, value in ours.items() if name not in said}
    both = f"{options()} {said.get('options', '')}".rstrip()  # of two that differ the later one counts
    async with our_errors():
        conn = await Connection.connect(url, autocommit=True, options=both, **unsaid)
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


@lru_cache(32)  # libpq takes a quarter of a millisecond to read it
def password_of(url: str) -> str | None:
    """Return the password in an address that `is_url`, or None."""
    found = conninfo_to_dict(url).get("password")
    return None if found is None else str(found)


class Sessions:
    """At most so many connections for one kind of work, opened when they are wanted and kept while they are good.

    A lost one is replaced by whoever wants it next: nothing waits for its turn to connect again once the server is
    back. One that broke says nothing good of the others, so those that lie idle are given up with it.
    """

    def __init__(
        self, url: str, application_name: str, *, size: int, patience: float = PATIENCE_SECONDS, **settings: str
    ) -> None:
        self._url = url
        self._name = application_name
        self._settings = settings
        self._patience = patience
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._look: asyncio.TimerHandle | None = None
        self._is_open = False

    async def __aenter__(self) -> Sessions:
        self._is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_open = False
        if self._look is not None:
            self._look.cancel()
            self._look = None
        await self._give_up_idle()

    @asynccontextmanager
    async def session(self, patience: float | None = None) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit: each statement is its own transaction.

        `patience` is how many seconds one answer may take, where that is more than others of this kind take.
        """
        async with our_errors(), self._turns:
            conn = await self._lend()
            conn.patience = patience or self._patience
            try:
                yield conn
            except READ_ONLY:
                conn.sever()  # the next one finds the server that the address leads to by then
                raise
            finally:
                await self._take_back(conn)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside one READ COMMITTED transaction that commits at the end of the block."""
        async with self.session() as conn, conn.transaction():
            yield conn

    @asynccontextmanager
    async def piped_transaction(self) -> AsyncIterator[Connection]:
        """As `transaction`, but nothing waits for an answer before something is fetched, or for COMMIT at the end.

        BEGIN and COMMIT are sent by hand: the driver's own transaction would wait before each of them. It does not know
        that it is in a transaction before it has waited: what opens another one inside this one calls `settle` first.
        """
        async with self.session() as conn:
            try:
                async with conn.pipeline():
                    await conn.execute("BEGIN")
                    yield conn
                    await conn.execute("COMMIT")
            except BaseException:
                with suppress(psycopg.Error):
                    await conn.rollback()
                raise

    async def _lend(self) -> Connection:
        if not self._is_open:
            raise StoreUnavailable(f"the sessions {self._name} are closed")
        conn = self._idle.pop() if self._idle else await _open(self._url, self._name, self._settings)
        self._lent.add(conn)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._watch)
        return conn

    async def _take_back(self, conn: Connection) -> None:
        self._lent.discard(conn)
        is_idle = conn.pgconn.transaction_status == TransactionStatus.IDLE  # so it is too if its last answer had come
        if is_idle and not conn.is_severed and self._is_open:
            self._idle.append(conn)
            return
        await conn.close()
        await self._give_up_idle()

    async def _give_up_idle(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    def _watch(self) -> None:
        """Sever what has waited too long, and with it what else has waited for a while; go on while any is lent."""
        now = time.monotonic()
        waiting = {conn: now - since for conn in self._lent if (since := conn.waits_since) is not None}
        if any(seconds > conn.patience for conn, seconds in waiting.items()):
            silent = [conn for conn, seconds in waiting.items() if seconds > min(conn.patience, SUSPECT_SECONDS)]
            log.warning("the database is silent: severing", sessions=self._name, count=len(silent))
            for conn in silent:
                conn.sever()
        is_any_lent = self._is_open and bool(self._lent)
        self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._watch) if is_any_lent else None


def replica_sessions(url: str) -> tuple[Sessions, Sessions, Sessions, Sessions]:
    """Return the sessions of one replica: control, work, claims and upkeep.

    Each loop of control (heartbeat, election, notify, stops) has a connection that no other can take from it. The
    server gives a statement up before our patience ends, so that a slow server is not taken for a silent one.
    """
    short = {"lock_timeout": "2s", "idle_in_transaction_session_timeout": "2s"}
    return (
        Sessions(url, "scheduledjobs control", size=4, patience=PATIENCE_SECONDS, statement_timeout="2500ms", **short),
        Sessions(url, "scheduledjobs work", size=2, patience=5.0, statement_timeout="4s", **short, **POINT_READS),
        Sessions(url, "scheduledjobs claim", size=1, patience=5.0, statement_timeout="4s", **short, **POINT_READS),
        Sessions(
            url,
            "scheduledjobs upkeep",
            size=1,
            patience=300.0,
            statement_timeout="4min",
            lock_timeout="5s",
            idle_in_transaction_session_timeout="1min",
        ),
    )
