"""The versions of a job: read a page at a time, and of a moment the one that was in force, however many there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb
from tests.integration.conftest import Stage, resource

from scheduledjobs.handlers import load_registry
from scheduledjobs.store.ledger import find_row_version, find_version, find_version_at
from scheduledjobs.store.sessions import connect
from scheduledjobs.web.filters import MOST, VersionFilters
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.problems import ProblemError
from scheduledjobs.web.reads import Reads
from scheduledjobs.web.sessions import web_sessions

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
COUNT = 1000
INSERT = """
INSERT INTO job_definition_version
    (job_id, version, recorded_at, spec, effective_from, anchor_at, suspended, field_manager, state)
VALUES (%s, %s, %s, %s, %s, %s, false, 'kubectl', %s)
"""


async def job(stage: Stage) -> UUID:
    """A job, its versions taken away."""
    await stage.mirror(resource(fixedRate="1h"))
    found: UUID = stage.job()["id"]
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("DELETE FROM job_definition_version")
    return found


def record(stage: Stage, job_id: UUID, *rows: tuple[int, datetime, datetime, str]) -> None:
    """Record versions: number, effective_from, recorded_at and state."""
    spec = {"handler": "log", "payload": {"text": "x" * 1000}}
    values = [
        (job_id, number, recorded_at, Jsonb(spec | {"fixedRate": f"{number}m"}), since, NOON, state)
        for number, since, recorded_at, state in rows
    ]
    with psycopg.connect(stage.url, autocommit=True) as conn, conn.cursor() as cursor:
        cursor.executemany(INSERT, values)


async def many(stage: Stage) -> UUID:
    job_id = await job(stage)
    record(stage, job_id, *((n, NOON + n * MINUTE, NOON + n * MINUTE, "ACTIVE") for n in range(1, COUNT + 1)))
    return job_id


async def test_versions_are_listed_a_page_at_a_time_the_newest_first(stage: Stage) -> None:
    job_id = str(await many(stage))
    async with web_sessions(stage.url) as sessions:
        reads = Reads(sessions, load_registry(), Hub())
        page = await reads.versions(None, job_id, VersionFilters())
        assert [one.version for one in page.items] == list(range(COUNT, COUNT - 50, -1))
        assert len(page.model_dump_json()) < 100_000
        found, cursor = [], None
        while True:
            page = await reads.versions(None, job_id, VersionFilters(limit=MOST, cursor=cursor))
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page.items) == MOST
    assert [one.version for one in found] == list(range(COUNT, 0, -1))
    changed = [[(one.field, one.before, one.after) for one in version.changes] for version in found]
    expected = [[("fixedRate", f"{n - 1}m", f"{n}m")] for n in range(COUNT, 1, -1)]
    assert changed == [*expected, []]  # across pages too; the first version changed nothing


async def test_a_cursor_of_another_list_is_refused(stage: Stage) -> None:
    job_id = str(await job(stage))
    async with web_sessions(stage.url) as sessions:
        reads = Reads(sessions, load_registry(), Hub())
        for cursor in ("x", "WyJhIl0", "Wy0xXQ", "W10", "WzEsMl0", "W3RydWVd"):
            with pytest.raises(ProblemError, match="cursor: is not one that this server gave"):
                await reads.versions(None, job_id, VersionFilters(cursor=cursor))


async def test_of_many_versions_why_tells_the_one_in_force(stage: Stage) -> None:
    job_id = str(await many(stage))
    async with web_sessions(stage.url) as sessions:
        found = await Reads(sessions, load_registry(), Hub()).why(None, job_id, NOON + 500 * MINUTE + SECOND)
    assert any("(version 500, in force since" in line for line in found.lines)


Recorded = tuple[int, datetime, datetime, str]
ACTIVE: Recorded = (1, NOON, NOON, "ACTIVE")
GONE: Recorded = (2, NOON, NOON - 30 * SECOND, "DELETED")
REVIVED: Recorded = (3, NOON - 10 * SECOND, NOON - 10 * SECOND, "ACTIVE")
LATER: Recorded = (2, NOON, NOON + 30 * SECOND, "SUSPENDED")


@pytest.mark.parametrize(
    ("recorded", "at", "expected"),
    [
        ([ACTIVE, GONE], NOON + MINUTE, 2),
        ([ACTIVE, GONE], NOON - MINUTE, None),
        ([ACTIVE, GONE, REVIVED], NOON + MINUTE, 3),
        ([ACTIVE, LATER], NOON + MINUTE, 2),
        ([ACTIVE, LATER], NOON + SECOND, 1),  # what was recorded after the moment was not known then
        ([LATER], NOON + SECOND, 2),  # unless nothing else was
        ([], NOON, None),
    ],
)
async def test_the_order_of_recording_decides_what_was_in_force(
    stage: Stage, recorded: list[Recorded], at: datetime, expected: int | None
) -> None:
    job_id = await job(stage)
    record(stage, job_id, *recorded)
    async with connect(stage.url, "test") as conn:
        found: dict[str, Any] | None = await find_version_at(conn, job_id, at)
    assert (found["version"] if found else None) == expected


async def test_of_a_number_that_was_used_again_the_newest_version_counts(stage: Stage) -> None:
    job_id = await job(stage)
    record(stage, job_id, ACTIVE, (1, NOON + MINUTE, NOON + MINUTE, "SUSPENDED"), GONE)
    async with connect(stage.url, "test") as conn:
        found = await find_version(conn, job_id, 1)
        assert found is not None
        assert found["state"] == "SUSPENDED"
        assert await find_version(conn, job_id, 7) is None


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ([(1, NOON, NOON - SECOND, "ACTIVE"), (1, NOON, NOON, "INVALID"), (1, NOON, NOON + SECOND, "ACTIVE")], NOON),
        ([(1, NOON, NOON + SECOND, "SUSPENDED"), (1, NOON, NOON + MINUTE, "ACTIVE")], NOON + MINUTE),
        ([(1, NOON, NOON + SECOND, "SUSPENDED"), (1, NOON, NOON + MINUTE, "DELETED")], NOON + SECOND),
        ([(1, NOON, NOON + MINUTE, "DELETED")], NOON + MINUTE),
        ([(2, NOON, NOON + MINUTE, "ACTIVE")], None),
    ],
)
async def test_the_version_of_a_row_is_what_was_recorded_first_after_its_moment(
    stage: Stage, recorded: list[Recorded], expected: datetime | None
) -> None:
    job_id = await job(stage)
    record(stage, job_id, *recorded)
    async with connect(stage.url, "test") as conn:
        found = await find_row_version(conn, job_id, 1, NOON - SECOND)
    assert (found["recorded_at"] if found else None) == expected
