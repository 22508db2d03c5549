"""Days of the log: a partition for each UTC day, made ahead, dropped whole when history is no longer kept.

A partition is made as a table of its own and then attached: `PARTITION OF` would lock the parent against everybody.
For the same reason an old day is detached CONCURRENTLY before it is dropped; that cannot be in a transaction, so it is
the one thing a leader does without its term: age alone decides, and doing it twice does no harm. A user who does not
own the tables drops days by a function of the owner (docs/decisions/0023), which makes them too.

Whoever drops a day may be stopped anywhere: before the detach has ended, which is then ended with FINALIZE, or between
it and the drop, when the table is no day of the log any more and is found by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

from psycopg import errors, sql

from scheduledjobs.errors import StoreBusy, StoreError
from scheduledjobs.store.queries import Row, fetch_all, fetch_one
from scheduledjobs.store.sessions import Connection, first_line, our_errors, settle

PARENTS = ("job_execution_log", "job_execution_attempt", "job_execution_output")
DAY = timedelta(days=1)
DAYS_AHEAD = 7
LOOK_LIMIT = "50ms"
"""For how long whoever looks for readers of a day may keep others from it; `drop_day` has the same limit."""


def partition_name(parent: str, day: date) -> str:
    """Return the name of a day's partition: job_execution_log_20261123."""
    return f"{parent}_{day:%Y%m%d}"


async def ensure_days(conn: Connection, first: date, last: date) -> None:
    """Make the partitions of every day from `first` to `last` that are not there; two makers do not hurt each other."""
    known = {row["name"] for row in await fetch_all(conn, "list_partitions")}
    await settle(conn)
    day = first
    while day <= last:
        if partition_name(PARENTS[0], day) not in known:
            for parent in reversed(PARENTS):  # the log last: where its day is, the others are
                await make_day(conn, parent, day)
        day += DAY


async def make_day(conn: Connection, parent: str, day: date) -> None:
    """Make the partition of one day, if it is not there."""
    await fetch_one(conn, "make_day", parent=parent, day=day)


async def find_partition(conn: Connection, name: str) -> Row | None:
    """Return whether a table is a partition, and a detach of it was interrupted; None if it is not there."""
    return await fetch_one(conn, "find_partition", table=name)


async def list_partitions(conn: Connection) -> dict[date, bool]:
    """Return the days that the log has, oldest first, and whether a detach of each was interrupted."""
    rows = await fetch_all(conn, "list_partitions")
    return {_day_of(row["name"]): row["is_detaching"] for row in rows}


async def list_detached(conn: Connection) -> set[date]:
    """Return the days of which a table was detached and not dropped."""
    days = set()
    for row in await fetch_all(conn, "list_detached"):
        with suppress(ValueError):  # eight digits that are no day
            days.add(_day_of(row["name"]))
    return days


def _day_of(name: str) -> date:
    return datetime.strptime(name.rsplit("_", 1)[1], "%Y%m%d").replace(tzinfo=UTC).date()


async def has_live_rows(conn: Connection, day: date) -> bool:
    """Return whether a day has executions that have not ended."""
    row = await fetch_one(conn, "has_live_rows", day=datetime(day.year, day.month, day.day, tzinfo=UTC))
    return bool(row and row["has_live"])


async def drop_expired(conn: Connection, before: date, on_bad: Callable[[date, StoreError], None]) -> list[date]:
    """Drop the days before `before` that have nothing live; return them, oldest first. `conn` is in autocommit.

    `on_bad(day, error)` is told of a day that cannot be dropped: somebody made a view of it, or, `StoreBusy`, it is
    read. It keeps no other day, with one exception: PostgreSQL detaches one day of a table at a time, so once a detach
    has begun that waits for readers of the whole log, the others wait too. Raises `StoreUnavailable` where the link is
    broken.
    """
    dropped = []
    is_owner = await owns_log(conn)
    days = dict.fromkeys(await list_detached(conn), False) | await list_partitions(conn)
    for day, is_detaching in sorted(days.items()):
        if day >= before:
            continue
        try:
            async with our_errors():
                if is_detaching or not await has_live_rows(conn, day):
                    await (_drop_as_owner if is_owner else _drop_by_function)(conn, day)
                    dropped.append(day)
        except StoreError as error:
            if conn.closed:
                raise
            on_bad(day, error)
    return dropped


async def _drop_by_function(conn: Connection, day: date) -> None:
    if not all([await drop_day(conn, parent, day) for parent in reversed(PARENTS)]):
        raise StoreBusy(f"others hold the log of {day}")


async def _drop_as_owner(conn: Connection, day: date) -> None:
    names = {partition_name(parent, day): parent for parent in reversed(PARENTS)}
    found = {name: row for name in names if (row := await find_partition(conn, name))}
    await _look_for_readers(conn, list(found))
    for name, row in found.items():
        if row["is_attached"]:
            await _detach(conn, names[name], name, is_detaching=row["is_detaching"])
        await conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))


async def _look_for_readers(conn: Connection, names: Sequence[str]) -> None:
    """Raise `LockNotAvailable` if somebody uses one of these tables: a detach, once begun, would wait for him."""
    async with conn.transaction():
        await conn.execute(f"SET LOCAL lock_timeout = '{LOOK_LIMIT}'".encode())  # so long others wait behind this
        tables = sql.SQL(", ").join(sql.Identifier(name) for name in names)
        await conn.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))


async def owns_log(conn: Connection) -> bool:
    """Return whether this user has the rights of the log's owner."""
    row = await fetch_one(conn, "owns_log")
    return bool(row and row["owns"])


async def drop_day(conn: Connection, parent: str, day: date) -> bool:
    """Detach and drop a day as a user who is not the owner; False if it must wait: it is live, or others hold it."""
    row = await fetch_one(conn, "drop_day", parent=parent, day=day)
    return bool(row and row["dropped"])


async def _detach(conn: Connection, parent: str, name: str, *, is_detaching: bool) -> None:
    how = sql.SQL("FINALIZE" if is_detaching else "CONCURRENTLY")
    detach = sql.SQL("ALTER TABLE {} DETACH PARTITION {} {}")
    try:
        await conn.execute(detach.format(sql.Identifier(parent), sql.Identifier(name), how))
    except errors.ObjectNotInPrerequisiteState as error:  # the detach of another day of this parent waits for readers
        raise StoreBusy(first_line(error)) from error
