"""What is asked for often reads few rows: of the claims of a replica, however many it has run since the last VACUUM,
and of the past of a job, however long that is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.rows import dict_row
from tests.integration.conftest import Stage, resource
from tests.integration.plans import rows_read

from scheduledjobs.store.executions import (
    complete_executions,
    hand_back_executions,
    hand_over_executions,
    return_abandoned,
)
from scheduledjobs.store.sessions import POINT_READS, connect
from scheduledjobs.store.status import MOST_ROWS, MOST_RUNS, load_status

OWNED = """
INSERT INTO job_execution_log (
    fire_time, namespace, job_name, state, trigger, handler, job_id, version, run_key, claimed_by, claim_no, attempt,
    claimed_at, started_at, abandoned
)
SELECT date_trunc('day', now()), 'default', 'job', %(state)s, 'MANUAL', 'log', gen_random_uuid(), 1, 'run', %(replica)s,
    1, 1, now(), now(), %(state)s <> 'RUNNING'
FROM generate_series(1, %(count)s)
"""
ENDING = {
    "state": "SUCCEEDED",
    "reason": "Success",
    "duration_ms": 1,
    "abandoned": False,
    "retry_seconds": None,
    "output": "a line",
    "attempt": 1,
    "truncated": False,
    "note": None,
}


@pytest.mark.parametrize("is_analyzed", [True, False])
@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("complete_executions", "RUNNING"),
        ("hand_back_executions", "RUNNING"),
        ("hand_over_executions", "RUNNING"),
        ("write_outputs", "RUNNING"),
        ("write_notes", "RUNNING"),
        ("find_ended_claims", "TIMED_OUT"),
        ("find_locked", "RUNNING"),
        ("return_abandoned", "TIMED_OUT"),
    ],
)
async def test_a_batch_of_claims_is_found_by_its_ids(stage: Stage, name: str, state: str, *, is_analyzed: bool) -> None:
    replica = await stage.replica()
    with psycopg.connect(stage.url, autocommit=True, row_factory=dict_row) as conn:
        conn.execute(OWNED, {"replica": replica, "state": state, "count": 20_000})
        if is_analyzed:
            conn.execute("ANALYZE")
        chosen = conn.execute("SELECT * FROM job_execution_log WHERE id % 2000 = 0").fetchall()
    rows = [row_of(row) for row in chosen]
    assert len(rows) == 10
    async with connect(stage.url, "test", **POINT_READS) as conn:
        read = await rows_read(conn, name, replica=replica, rows=orjson.dumps(rows).decode())
    assert 10 <= read["job_execution_log"] <= 50


def row_of(row: dict[str, Any]) -> dict[str, Any]:
    known = {key: row[key] for key in ("id", "fire_time", "claim_no", "job_id", "started_at")}
    return {**ENDING, **known, "finished_at": row["started_at"], "execution_id": row["id"]}


@pytest.mark.parametrize(
    ("write", "state"),
    [
        (complete_executions, "RUNNING"),
        (hand_back_executions, "RUNNING"),
        (hand_over_executions, "RUNNING"),
        (return_abandoned, "TIMED_OUT"),
    ],
)
async def test_the_rows_of_a_batch_are_locked_in_the_order_of_their_ids(
    stage: Stage, write: Callable[..., Awaitable[Collection[int]]], state: str
) -> None:
    """As two batches that lock the same rows in two orders wait for each other. A row that is updated is written behind
    those that are there, so where they lie says which was first."""
    replica = await stage.replica()
    with psycopg.connect(stage.url, autocommit=True, row_factory=dict_row) as conn:
        conn.execute(OWNED, {"replica": replica, "state": state, "count": 5})
        rows = [row_of(row) for row in conn.execute("SELECT * FROM job_execution_log ORDER BY id")]
        async with connect(stage.url, "test", **POINT_READS) as one:
            assert len(await write(one, replica, [rows[number] for number in (3, 0, 4, 2, 1)])) == 5
        lying = conn.execute("SELECT id FROM job_execution_log ORDER BY ctid").fetchall()
    assert [row["id"] for row in lying] == [row["id"] for row in rows]


PAST = """
INSERT INTO job_execution_log (
    fire_time, namespace, job_name, state, trigger, handler, job_id, version, started_at, finished_at
)
SELECT day + n * interval '1 second', 'default', 'job', %(state)s, 'SCHEDULE', 'log', %(job)s, 1, day, day
FROM generate_series(1, %(count)s) AS n, date_trunc('day', now()) AS day
"""


async def test_long_runs_are_found_without_the_rows_whose_code_has_ended(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s"))
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(PAST, {"job": stage.job()["id"], "state": "SUCCEEDED", "count": 20_000})
        conn.execute("ANALYZE")
    page = {"seconds": 60.0, "after_at": datetime.min.replace(tzinfo=UTC), "after_id": 0, "most": 2000}
    async with connect(stage.url, "test") as conn:
        read = await rows_read(conn, "find_long_runs", **page)
    assert read.get("job_execution_log", 0) <= 20


@pytest.mark.parametrize("is_analyzed", [True, False])
async def test_the_status_of_a_job_that_does_well_is_made_of_few_rows_of_its_past(
    stage: Stage, *, is_analyzed: bool
) -> None:
    """A job of each second has a thousand executions within a quarter of an hour; they were read for each status."""
    read = await rows_of_status(stage, "SUCCEEDED", is_analyzed=is_analyzed)
    assert read["job_execution_log"] <= 20


async def test_the_failures_of_a_job_that_only_fails_are_counted_to_a_bound(stage: Stage) -> None:
    read = await rows_of_status(stage, "FAILED", is_analyzed=True)
    assert read["job_execution_log"] <= 3 * MOST_RUNS


async def test_the_past_of_a_job_that_only_skips_is_read_to_a_bound(stage: Stage) -> None:
    """One whose run never ends skips a moment of each second, which was read for its status to the last success."""
    read = await rows_of_status(stage, "SKIPPED", is_analyzed=True, count=3 * MOST_ROWS)
    assert read["job_execution_log"] <= 6 * MOST_ROWS


@pytest.mark.parametrize("count", [1500, MOST_ROWS + 1])
async def test_the_run_that_skipped_a_thousand_moments_is_found_behind_them(stage: Stage, count: int) -> None:
    """Its row stands at its own moment; behind many more the status keeps what it said of it."""
    await stage.mirror(resource(fixedRate="1s"))
    job = stage.job()["id"]
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(PAST, {"job": job, "state": "SKIPPED", "count": count})
        conn.execute(
            "UPDATE job_execution_log SET state = 'FAILED'"
            " WHERE fire_time = (SELECT min(fire_time) FROM job_execution_log)"
        )
    async with connect(stage.url, "test") as conn:
        (row,) = await load_status(conn, [job])
    seen = row["last_run_state"], row["consecutive_failures"], row["is_cut"]
    assert seen == (("FAILED", 1, False) if count <= MOST_ROWS else (None, 0, True))
    (first,) = stage.rows("SELECT min(fire_time) AS at FROM job_execution_log")
    assert row["last_run_fire_time"] == (first["at"] if count <= MOST_ROWS else None)


@pytest.mark.parametrize("count", [2 * MOST_RUNS, MOST_ROWS + 2])
async def test_executions_that_wait_hide_no_end(stage: Stage, count: int) -> None:
    """Of a job that may overlap the oldest are run first: its ends stand behind all that waits."""
    await stage.mirror(resource(fixedRate="1s"))
    job = stage.job()["id"]
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(PAST, {"job": job, "state": "SUCCEEDED", "count": count})
        conn.execute(
            "UPDATE job_execution_log SET state = 'PENDING', started_at = NULL, finished_at = NULL"
            " WHERE fire_time > (SELECT min(fire_time) FROM job_execution_log)"
        )
    async with connect(stage.url, "test") as conn:
        (row,) = await load_status(conn, [job])
    assert (row["last_run_state"], row["active"]) == ("SUCCEEDED", count - 1)
    assert row["last_successful_time"] is not None
    assert not row["is_cut"]


async def test_a_status_is_made_of_few_rows_though_statistics_say_that_nothing_has_ended(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s"), *(resource(f"job-{n}", fixedRate="1s") for n in range(20)))
    (job, *_) = jobs = [row["id"] for row in stage.rows("SELECT id FROM job_definition")]
    with psycopg.connect(stage.url, autocommit=True) as conn:
        for each in jobs:
            conn.execute(PAST, {"job": each, "state": "PENDING", "count": 2000})
        conn.execute("UPDATE job_execution_log SET started_at = NULL, finished_at = NULL")
        conn.execute("VACUUM ANALYZE")
        conn.execute(
            "UPDATE job_execution_log SET state = 'SUCCEEDED', started_at = fire_time, finished_at = fire_time"
        )
    async with connect(stage.url, "test") as conn:
        read = await rows_read(conn, "load_status", ids=[job], most=MOST_RUNS, most_rows=MOST_ROWS)
    assert read["job_execution_log"] <= 20


async def rows_of_status(stage: Stage, state: str, *, is_analyzed: bool, count: int = 5000) -> dict[str, int]:
    await stage.mirror(resource(fixedRate="1s"))
    job = stage.job()["id"]
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(PAST, {"job": job, "state": state, "count": count})
        if is_analyzed:
            conn.execute("ANALYZE")
    async with connect(stage.url, "test") as conn:
        (row,) = await load_status(conn, [job])
        assert row["consecutive_failures"] == (MOST_RUNS if state == "FAILED" else 0)
        assert row["is_cut"] == (state != "SUCCEEDED")
        return await rows_read(conn, "load_status", ids=[job], most=MOST_RUNS, most_rows=MOST_ROWS)


async def test_an_end_is_written_on_the_page_of_its_row(stage: Stage) -> None:
    """Where there is no room it moves to another page, which locks it first and writes the whole row to the WAL."""
    replica = await stage.replica()
    pages = "SELECT id, (ctid::text::point)[0] AS page FROM job_execution_log"
    with psycopg.connect(stage.url, autocommit=True, row_factory=dict_row) as conn:
        conn.execute(OWNED, {"replica": replica, "state": "RUNNING", "count": 20_000})
        before = {row["id"]: row["page"] for row in conn.execute(pages)}
        rows = [row_of(row) for row in conn.execute("SELECT * FROM job_execution_log")]
        async with connect(stage.url, "test", **POINT_READS) as one:
            for start in range(0, 2000, 500):
                assert len(await complete_executions(one, replica, rows[start : start + 500])) == 500
        after = {row["id"]: row["page"] for row in conn.execute(pages)}
    moved = sum(after[row["id"]] != before[row["id"]] for row in rows[:2000])
    assert moved <= 200
