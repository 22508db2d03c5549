"""Who may write: the Lease decides who leads, this decides who may fire.

A Lease does not fence: its holder may be paused for an hour in the middle of a transaction. So Postgres hands out a
rising number, the term, and every transaction of a leader begins by reading the row that holds it, FOR SHARE. A
take-over locks the table, which waits for such transactions and is waited for by later ones; a transaction of an older
term then finds no row and writes nothing.

A leader also holds an advisory lock numbered by its term for as long as its process lives (the seat): followers that
find it free twice, while the Lease stands still, need not wait for the Lease to expire.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TypeVar

import structlog

from scheduledjobs.errors import StoreError, StoreUnavailable, TermLost
from scheduledjobs.store.queries import Row, execute, fetch_all, fetch_one, send
from scheduledjobs.store.sessions import PATIENCE_SECONDS, Connection, Sessions, connect, our_errors

log = structlog.get_logger(__name__)
T = TypeVar("T")

SEAT_SPACE = 0x534A
"""First number of the advisory lock; the second is the term."""

BLOCKED_SECONDS = 0.5
LEADER_SESSIONS = 4
LIMIT = "2s"
STATEMENT_LIMIT = "4s"
"""Under the transaction's, or a server that knows that one would end the session for a slow statement."""

TRANSACTION_LIMIT = "5s"
"""A fire is seven round trips: over a link that is slow by 200 ms each way they take three seconds. A take-over does
not wait for this limit, it ends the sessions of older terms that block it."""

TRANSACTION_TIMEOUT_SINCE = 170_000
READ_SECONDS = 6.0
"""How long a leader's read may take on the wire: longer than the server lets it."""

TAKE_OVER_SECONDS = 10.0
SEAT_SECONDS = 2.0
"""How often the seat's session is looked at. While it is broken a take-over would be too early, were the Lease to stand
still too."""

SEAT = {"statement_timeout": "8s", "idle_in_transaction_session_timeout": LIMIT}


async def check_term(conn: Connection, term: int, holder: str) -> None:
    """Make sure that this term is in force until the transaction ends; `TermLost` if it is not."""
    if await fetch_one(conn, "check_term", term=term, holder=holder) is None:
        raise lost(term, holder)


def lost(term: int, holder: str) -> TermLost:
    """Return the error of who writes for a term that another has followed."""
    return TermLost(f"term {term} of {holder} is not in force")


async def read_leadership(conn: Connection) -> Row:
    """Return term, holder and cluster."""
    return _found(await fetch_one(conn, "read_leadership"))


def _found(row: Row | None) -> Row:
    if row is None:
        raise StoreError("the table leadership has lost its row")
    return row


async def claim_cluster(conn: Connection, cluster: str) -> None:
    """Bind the database to a cluster (uid of its namespace kube-system); `StoreError` if it is another's."""
    row = await fetch_one(conn, "claim_cluster", cluster=cluster)
    if row is None or row["cluster"] != cluster:
        other = row["cluster"] if row else "?"
        raise StoreError(f"this database belongs to the cluster {other}, not to {cluster}: use a database of its own")


async def check_session(conn: Connection) -> None:
    """Raise `StoreError` if the server has not been told what its sessions are opened with.

    A pooler may have dropped it, and with it all limits: how long a lock is waited for, how long a transaction idles.
    """
    row = await fetch_one(conn, "check_session")
    if row is None or row["source"] != "client":
        raise StoreError("a pooler before the database drops what sessions ask for in `options`: connect without it")


async def server_version(conn: Connection) -> int:
    """Return the server's version as a number: 170004 for 17.4."""
    row = await fetch_one(conn, "server_version")
    return int(row["version"]) if row else 0


async def take_seat(conn: Connection, term: int) -> bool:
    """Take the seat of `term` for the life of this session; False if another session has it."""
    row = await fetch_one(conn, "take_seat", space=SEAT_SPACE, term=term)
    return bool(row and row["taken"])


async def read_seat(conn: Connection) -> tuple[int, bool]:
    """Return the term in force, and whether nobody sits in its seat."""
    row = _found(await fetch_one(conn, "read_seat", space=SEAT_SPACE))
    return row["term"], row["is_free"]


async def end_blockers(conn: Connection, pid: int, term: int) -> int:
    """End the sessions of terms older than `term` that block the session `pid`; return how many."""
    return len(await fetch_all(conn, "end_blockers", pid=pid, term=term))


async def lock_leadership(conn: Connection) -> None:
    """Wait for the transactions of the old term, and let no new one begin."""
    await execute(conn, "lock_leadership")


async def raise_term(url: str, conn: Connection, expected: int, holder: str) -> int | None:
    """Take the term after `expected` on `conn`, whose session asked for its seat before; None if another was quicker.

    After half a second of waiting, sessions of older terms that block it are ended. If the answer to the COMMIT is
    lost, the caller reads again and raises from there: the term that it may have taken is nobody's then.
    """
    term = expected + 1
    async with conn.transaction():
        waiting = asyncio.create_task(_end_blockers_soon(url, conn.info.backend_pid, term))
        try:
            await lock_leadership(conn)
        finally:
            with suppress(StoreUnavailable):
                await _end(waiting)
        row = await fetch_one(conn, "raise_term", expected=expected, holder=holder)
    return term if row is not None else None


async def forget_terms(conn: Connection, days: int) -> int:
    """Delete the past of leadership that is older than `days`, but for the newest 100 terms; return how many."""
    return await execute(conn, "forget_terms", days=days)


async def _end_blockers_soon(url: str, pid: int, term: int) -> None:
    while True:
        await asyncio.sleep(BLOCKED_SECONDS)
        async with connect(url, "scheduledjobs take-over") as conn:
            with conn.bounded():
                ended = await end_blockers(conn, pid, term)
            if ended:
                log.warning("ended sessions of an older term that blocked the take-over", count=ended)


class Leader:
    """What a leader may do during its term: read, and write while the term is in force."""

    def __init__(self, term: int, holder: str, sessions: Sessions, is_trusted: Callable[[], bool] = lambda: True):
        """`is_trusted()` says whether the Lease is surely still ours."""
        self.term = term
        self.holder = holder
        self.is_trusted = is_trusted
        self._sessions = sessions

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        """Lend a transaction of this term; `TermLost` before anything is written if another is in force."""
        async with self._sessions.transaction() as conn:
            await check_term(conn, self.term, self.holder)
            yield conn

    @asynccontextmanager
    async def write_after(self, first: Callable[[Connection], Awaitable[T]]) -> AsyncIterator[tuple[Connection, T]]:
        """Lend a transaction of this term in which `first` was the first statement; also what that returned.

        As `write`, with fewer round trips: BEGIN, the check and `first` go together, each a statement of its own to the
        server, and so do the last statement and COMMIT. Where the term is not in force any more, what `first` has
        written is rolled back. In the block a statement is on its way until something is fetched.
        """
        async with self._sessions.piped_transaction() as conn:
            async with conn.cursor() as checked:
                await send(checked, "check_term", term=self.term, holder=self.holder)
                answer = await first(conn)
                if await checked.fetchone() is None:
                    raise lost(self.term, self.holder)
            yield conn, answer

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit, to read."""
        async with self._sessions.session(READ_SECONDS) as conn:
            yield conn


@asynccontextmanager
async def take_over(
    url: str, holder: str, expected: int, is_trusted: Callable[[], bool] = lambda: True
) -> AsyncIterator[Leader | None]:
    """Take the term after `expected` and open the leader's own connections for it; None if another was quicker."""
    async with AsyncExitStack() as stack:
        seat = await stack.enter_async_context(connect(url, f"scheduledjobs seat term={expected + 1}", **SEAT))
        with seat.bounded(TAKE_OVER_SECONDS):
            # A rival that froze before its raise has the seat as long as its session lives: the term is not its.
            is_seated = await take_seat(seat, expected + 1)
            term = await raise_term(url, seat, expected, holder)
        if term is None:
            yield None
            return
        limits = {
            "idle_in_transaction_session_timeout": LIMIT,
            "lock_timeout": LIMIT,
            "statement_timeout": STATEMENT_LIMIT,
        }
        if seat.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
            limits["transaction_timeout"] = TRANSACTION_LIMIT
        sessions = Sessions(
            url, f"scheduledjobs leader term={term}", size=LEADER_SESSIONS, patience=PATIENCE_SECONDS, **limits
        )
        await stack.enter_async_context(sessions)
        keeper = asyncio.create_task(_keep_seat(url, seat, term, is_seated=is_seated))
        stack.push_async_callback(_end, keeper)
        yield Leader(term, holder, sessions, is_trusted)


async def _keep_seat(url: str, seat: Connection, term: int, *, is_seated: bool) -> None:
    """Watch the session that holds the seat; if it breaks, take the seat again on a new one.

    The server may go on with the broken session for a while, or a rival has the seat: then it is asked for again.
    """
    async with AsyncExitStack() as stack:
        while True:
            await asyncio.sleep(SEAT_SECONDS if is_seated else BLOCKED_SECONDS)
            try:
                async with our_errors():
                    with seat.bounded():
                        if is_seated:
                            await server_version(seat)
                        else:
                            is_seated = await take_seat(seat, term)
            except StoreError as error:
                if is_seated:
                    log.warning("the seat's session broke", term=term, error=str(error))
                is_seated = False
                with suppress(StoreError):
                    seat = await stack.enter_async_context(connect(url, f"scheduledjobs seat term={term}", **SEAT))


async def _end(task: asyncio.Task[None]) -> None:
    """End a task and wait until it has ended; to await it would take a cancel of the caller for the task's own."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
