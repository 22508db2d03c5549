"""Notices in SQL: what has ended and may be told, what waits for a webhook, and the messages made of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduledjobs.core.grouping import Count
from scheduledjobs.core.notices import Kind, Notice
from scheduledjobs.store.queries import Row, batch, execute, fetch_all, fetch_one
from scheduledjobs.store.sessions import Connection


async def find_noticeable(conn: Connection, since: datetime, after: tuple[datetime, int], most: int) -> list[Row]:
    """Return up to `most` rows that ended since `since` and after (finished_at, id), oldest first."""
    return await fetch_all(conn, "find_noticeable", since=since, after_at=after[0], after_id=after[1], most=most)


async def find_long_runs(conn: Connection, seconds: float, after: tuple[datetime, int], most: int) -> list[Row]:
    """Return up to `most` attempts after (started_at, id) whose code has run so long, or whose job names a time of its
    own, the longest first, each with the webhooks that are told of it."""
    after_at, after_id = after
    return await fetch_all(conn, "find_long_runs", seconds=seconds, after_at=after_at, after_id=after_id, most=most)


async def insert_notices(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Insert notices that are new; return their webhooks, one for each."""
    return [row["webhook"] for row in await fetch_all(conn, "insert_notices", rows=batch(rows))]


async def fold_notices(conn: Connection, webhook: str, most: int) -> int:
    """Leave the newest `most` of what waits to be listed; return how many others are counted only from now on."""
    return await execute(conn, "fold_notices", webhook=webhook, most=most)


async def insert_awaited(conn: Connection, fire_times: Mapping[int, datetime]) -> int:
    """Note executions, by id, that no look may find: their code runs on past their end, and they are noticed only if no
    attempt follows, or their end is written late. Return 0 if they were noted, or nobody is told of anything."""
    texts = {str(id_): at.isoformat() for id_, at in fire_times.items()}
    return await execute(conn, "insert_awaited", fire_times=json.dumps(texts))


async def settle_awaited(conn: Connection, most: int) -> list[Row]:
    """Forget up to `most` of which that is known by now; return the rows that no attempt follows."""
    return await fetch_all(conn, "settle_awaited", most=most)


async def upsert_failing(conn: Connection, jobs: Mapping[UUID, datetime]) -> int:
    """Note the newest fire time at which each job failed; return how many are changed."""
    rows = batch({"job_id": job_id, "fire_time": at} for job_id, at in jobs.items())
    return await execute(conn, "upsert_failing", rows=rows)


async def recover_failing(conn: Connection, jobs: Mapping[UUID, tuple[datetime, datetime]]) -> int:
    """Note the fire time and the end of each job's first success since; return how many are changed."""
    rows = batch({"job_id": job_id, "fire_time": at, "finished_at": end} for job_id, (at, end) in jobs.items())
    return await execute(conn, "recover_failing", rows=rows)


async def read_notice_cursor(conn: Connection) -> datetime | None:
    """Return since when ended rows have not been noticed, None where nothing ever was."""
    row = await fetch_one(conn, "read_notice_cursor")
    return row["since"] if row else None


async def write_notice_cursor(conn: Connection, since: datetime) -> int:
    """Note that all that ended before `since` was noticed."""
    return await execute(conn, "write_notice_cursor", since=since)


async def look_at_notices(conn: Connection, webhook: str) -> Row:
    """Return what there is to send to a webhook; see the statement for the columns."""
    row = await fetch_one(conn, "look_at_notices", webhook=webhook)
    assert row is not None  # noqa: S101 outer joins with one row
    return row


async def seal_notices(conn: Connection, webhook: str, message_id: str, most: int) -> int:
    """Put up to `most` of what waits for a webhook into a message; return how many. Fewer: it is sealed."""
    return await execute(conn, "seal_notices", webhook=webhook, message_id=message_id, most=most)


async def load_notices(conn: Connection, message_id: str) -> Sequence[Notice]:
    """Return the notices that a message lists, in the order in which they happened."""
    rows = await fetch_all(conn, "load_notices", message_id=message_id)
    return [Notice(**{**row, "kind": Kind(row["kind"])}) for row in rows]


async def count_notices(conn: Connection, message_id: str) -> dict[tuple[Kind, str], Count]:
    """Return what a message counts, listed or not, by kind and namespace."""
    rows = await fetch_all(conn, "count_notices", message_id=message_id)
    return {(Kind(row["kind"]), row["namespace"]): Count(row["notices"], row["jobs"]) for row in rows}


async def settle_message(conn: Connection, message_id: str, result: str | None, error: str | None) -> int:
    """Note how an attempt ended: SENT, DROPPED, or None and to be tried again; return 0 if it was settled before."""
    return await execute(conn, "settle_message", message_id=message_id, result=result, error=error)


async def merge_notices(conn: Connection) -> int:
    """Keep one row for each job of what waits and is only counted; return how many rows count more than before."""
    return await execute(conn, "merge_notices")


async def prune_notices(conn: Connection) -> int:
    """Delete notices that can be read no more and whose message is settled."""
    return await execute(conn, "prune_notices")


async def prune_messages(conn: Connection) -> int:
    """Delete settled messages whose notices are deleted."""
    return await execute(conn, "prune_messages")


async def prune_failing(conn: Connection) -> int:
    """Delete recoveries that can be read no more, and jobs that are gone."""
    return await execute(conn, "prune_failing")


async def forget_webhooks(conn: Connection, webhooks: Iterable[str]) -> int:
    """Delete what is for webhooks other than these; return how many messages those were."""
    return await execute(conn, "forget_webhooks", webhooks=list(webhooks))


async def forget_notices(conn: Connection) -> int:
    """Delete the cursor and who fails; return 1 if there was a cursor."""
    return await execute(conn, "forget_notices")
