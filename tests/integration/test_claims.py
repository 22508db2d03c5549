"""Fair claims and limits: one namespace's flood does not starve another, and no more runs than is allowed."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import psycopg
from tests.integration.conftest import Stage

from scheduledjobs.store.executions import claim_fairly, lock_claims
from scheduledjobs.store.sessions import connect

INSERT = """
INSERT INTO job_execution_log
    (fire_time, namespace, job_name, state, trigger, handler, job_id, version, visible_at, run_key)
SELECT now() - %(ago)s, %(namespace)s, 'job', 'PENDING', %(trigger)s, 'log', gen_random_uuid(), 1, now() - %(ago)s,
    n::text
FROM generate_series(1, %(count)s) AS n
"""
JOB = """
INSERT INTO job_definition (id, namespace, name, version, resource_version, spec, state, reason, effective_from,
    created_at, updated_at)
VALUES (gen_random_uuid(), %s, 'job', 1, 1, '{}', 'ACTIVE', 'Scheduled', now(), now(), now())
"""


def waiting(stage: Stage, namespace: str, count: int, ago: int, trigger: str = "SCHEDULE") -> None:
    with psycopg.connect(stage.url, autocommit=True) as conn:
        if not conn.execute("SELECT 1 FROM job_definition WHERE namespace = %s", [namespace]).fetchone():
            conn.execute(JOB, [namespace])
        values = {"namespace": namespace, "count": count, "ago": timedelta(seconds=ago), "trigger": trigger}
        conn.execute(INSERT, values)


async def claim(stage: Stage, slots: int, limit: int = 0, per_namespace: int = 0) -> Counter[str]:
    replica = await stage.replica()
    async with connect(stage.url, "test") as conn, conn.transaction():
        if limit or per_namespace:
            await lock_claims(conn)
        rows = await claim_fairly(conn, replica, ["log"], slots, limit, per_namespace)
    return Counter(row["namespace"] for row in rows)


async def test_namespaces_take_turns_whatever_one_of_them_floods(stage: Stage) -> None:
    waiting(stage, "flood", 5000, ago=60)
    waiting(stage, "small", 3, ago=1)
    waiting(stage, "other", 2, ago=1)
    assert await claim(stage, 10) == {"flood": 5, "small": 3, "other": 2}


async def test_what_is_on_time_goes_before_catch_ups_of_any_namespace(stage: Stage) -> None:
    waiting(stage, "late", 100, ago=600, trigger="CATCH_UP")
    waiting(stage, "prompt", 5, ago=1)
    assert await claim(stage, 6) == {"prompt": 5, "late": 1}


async def test_no_more_of_a_namespace_run_than_is_allowed(stage: Stage) -> None:
    waiting(stage, "flood", 50, ago=60)
    waiting(stage, "small", 3, ago=1)
    assert await claim(stage, 40, per_namespace=4) == {"flood": 4, "small": 3}
    assert await claim(stage, 40, per_namespace=4) == {}


async def test_no_more_run_than_is_allowed_however_many_claim_at_once(stage: Stage) -> None:
    waiting(stage, "flood", 100, ago=60)
    claims = await asyncio.gather(*(claim(stage, 10, limit=12) for _ in range(8)))
    assert sum(sum(found.values()) for found in claims) == 12


ROWS_READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))
FROM pg_stat_xact_user_tables WHERE relname LIKE 'job_execution_log%'
"""


async def test_the_turns_of_a_namespace_are_read_from_an_index(stage: Stage) -> None:
    waiting(stage, "flood", 20_000, ago=60)
    waiting(stage, "small", 1, ago=1)
    replica = await stage.replica()
    async with connect(stage.url, "test") as conn:
        await conn.execute("ANALYZE")
        async with conn.transaction():
            claimed = await claim_fairly(conn, replica, ["log"], 10, 0, 0)
            ((read,),) = await (await conn.execute(ROWS_READ)).fetchall()
    assert Counter(row["namespace"] for row in claimed) == {"flood": 9, "small": 1}
    assert read < 100  # each row that may be taken, and each that is, once or twice: not the flood
