"""Replicas in SQL: who is there, who is dead, and what becomes of what the dead were running."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from scheduledjobs.store.queries import Row, batch, execute, fetch_all, fetch_one
from scheduledjobs.store.sessions import Connection


async def register_instance(
    conn: Connection, replica: UUID, *, hostname: str, version: str, slots: int, handlers: Sequence[str]
) -> None:
    """Insert the row of a replica that starts; `replica` is an id of this start alone."""
    await execute(
        conn,
        "register_instance",
        replica=replica,
        hostname=hostname,
        version=version,
        slots=slots,
        handlers=list(handlers),
    )


async def beat_instance(
    conn: Connection,
    replica: UUID,
    *,
    running: int,
    is_leader: bool,
    term: int | None,
    database_ms: float | None = None,
    loop_lag_ms: float | None = None,
) -> float | None:
    """Write a sign of life; return the database's time in seconds since 1970, or None if declared dead."""
    row = await fetch_one(
        conn,
        "beat_instance",
        replica=replica,
        running=running,
        is_leader=is_leader,
        term=term,
        database_ms=database_ms,
        loop_lag_ms=loop_lag_ms,
    )
    return None if row is None else float(row["now"])


async def close_instance(conn: Connection, replica: UUID) -> None:
    """Say that the replica has stopped; final."""
    await execute(conn, "close_instance", replica=replica)


async def list_instances(conn: Connection) -> list[Row]:
    """Return id, hostname, heartbeat_at and handlers of the replicas that have not been declared dead."""
    return await fetch_all(conn, "list_instances")


async def bury_instances(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> set[UUID]:
    """Declare replicas dead (id, heartbeat_at as last seen); return those that had not moved in between."""
    return {row["id"] for row in await fetch_all(conn, "bury_instances", rows=batch(rows))}


async def has_orphans(conn: Connection) -> bool:
    """Return whether find_orphans would find any."""
    row = await fetch_one(conn, "has_orphans")
    return bool(row and row["found"])


async def find_orphans(conn: Connection) -> list[Row]:
    """Lock up to 1,000 executions that run, or were abandoned, under an owner that is not alive; return them."""
    return await fetch_all(conn, "find_orphans")


async def lose_executions(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """End locked orphans: id, fire_time, job_id, state, reason, message, retry_seconds; return what became of them."""
    return await fetch_all(conn, "lose_executions", rows=batch(rows))


async def hand_over_orphans(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Let replicas go on with locked orphans whose work survives (id, fire_time); return what changed."""
    return await fetch_all(conn, "hand_over_orphans", rows=batch(rows))


async def forget_instances(conn: Connection, days: int) -> int:
    """Delete the rows of replicas that died more than `days` days ago; return how many."""
    return await execute(conn, "forget_instances", days=days)
