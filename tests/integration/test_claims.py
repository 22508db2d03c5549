"""Fair claims and limits: one namespace's flood does not starve another, and no more runs than is allowed."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from tests.integration.conftest import Stage
from tests.integration.plans import rows_read, tables_read_whole
from tests.integration.slots import Slots, claims

from scheduledjobs.errors import StoreBusy
from scheduledjobs.steps.claim import QUICK_SECONDS
from scheduledjobs.store.executions import claim_executions, claim_fairly, lock_claims
from scheduledjobs.store.sessions import POINT_READS, connect

INSERT = """
INSERT INTO job_execution_log
    (fire_time, namespace, job_name, state, trigger, handler, job_id, version, visible_at, run_key)
SELECT now() - %(ago)s, %(namespace)s, 'job', 'PENDING', %(trigger)s, 'log', gen_random_uuid(), 1, now() - %(ago)s,
    n::text
FROM generate_series(1, %(count)s) AS n
"""
ENDED = """
INSERT INTO job_execution_log (fire_time, namespace, job_name, state, trigger, handler, job_id, version, run_key)
SELECT now() - interval '1 minute', 'flood', 'job', 'SUCCEEDED', 'SCHEDULE', 'log', gen_random_uuid(), 1, n::text
FROM generate_series(1, 20000) AS n
"""
JOBS = """
INSERT INTO job_definition (id, namespace, name, version, resource_version, spec, state, reason, effective_from,
    created_at, updated_at)
SELECT gen_random_uuid(), 'flood', 'job-' || n, 1, 1, '{}', 'ACTIVE', 'Scheduled', now(), now(), now()
FROM generate_series(1, 2000) AS n
"""
HELD = """
SELECT id FROM job_execution_log WHERE state = 'PENDING' ORDER BY visible_at, id LIMIT %s FOR UPDATE
"""


def waiting(stage: Stage, namespace: str, count: int, ago: int, trigger: str = "SCHEDULE") -> None:
    with psycopg.connect(stage.url, autocommit=True) as conn:
        values = {"namespace": namespace, "count": count, "ago": timedelta(seconds=ago), "trigger": trigger}
        conn.execute(INSERT, values)


async def claim(stage: Stage, slots: int, limit: int = 0, per_namespace: int = 0) -> Counter[str]:
    replica = await stage.replica()
    async with connect(stage.url, "test") as conn, conn.transaction():
        if limit or per_namespace:
            await lock_claims(conn)
        rows = await claim_fairly(conn, replica, ["log"], slots, limit, {"*": per_namespace})
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
            claimed = await claim_fairly(conn, replica, ["log"], 10)
            ((read,),) = await (await conn.execute(ROWS_READ)).fetchall()
    assert Counter(row["namespace"] for row in claimed) == {"flood": 9, "small": 1}
    assert read < 100  # each row that may be taken, and each that is, once or twice: not the flood


@pytest.mark.parametrize("name", ["claim_fairly", "claim_executions"])
async def test_a_claim_reads_no_table_whole_however_much_there_is(stage: Stage, name: str) -> None:
    waiting(stage, "flood", 20_000, ago=60)
    waiting(stage, "small", 1, ago=1)
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(ENDED)
        conn.execute(JOBS)
        conn.execute("ANALYZE")
    limits = {"limited": True, "limits": '{"*": 100}', "global": 100, "choice": 40} if name == "claim_fairly" else {}
    async with connect(stage.url, "test", **POINT_READS) as conn:
        parameters = {"replica": await stage.replica(), "handlers": ["log"], "slots": 10, **limits}
        assert await tables_read_whole(conn, name, **parameters) == set()


@pytest.mark.parametrize("name", ["claim_fairly", "claim_executions"])
async def test_a_claim_that_was_planned_while_nothing_was_there_reads_no_table_whole(stage: Stage, name: str) -> None:
    def fill() -> None:
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute(ENDED)
        waiting(stage, "flood", 100, ago=60)

    limits = {"limited": True, "limits": '{"*": 100}', "global": 100, "choice": 40} if name == "claim_fairly" else {}
    async with connect(stage.url, "test", **POINT_READS) as conn:
        parameters = {"replica": await stage.replica(), "handlers": ["log"], "slots": 10, **limits}
        assert await tables_read_whole(conn, name, fill, **parameters) == set()


async def test_two_that_claim_fairly_at_once_both_fill_their_slots(stage: Stage) -> None:
    waiting(stage, "flood", 100, ago=60)
    waiting(stage, "small", 8, ago=1)
    first, second = await stage.replica(), await stage.replica()
    async with connect(stage.url, "test") as one, connect(stage.url, "test") as other, one.transaction():
        mine = await claim_fairly(one, first, ["log"], 10)
        theirs = await claim_fairly(other, second, ["log"], 10)
    assert len({row["id"] for row in [*mine, *theirs]}) == 20
    assert Counter(row["namespace"] for row in theirs) == {"flood": 7, "small": 3}


async def test_a_fair_claim_that_others_left_short_is_tried_again_at_once(stage: Stage) -> None:
    waiting(stage, "flood", 200, ago=60)
    slots = Slots(5)
    async with claims(stage, slots) as step, connect(stage.url, "other") as other:
        assert await step.step() == 0.0
        async with other.transaction():
            await other.execute(HELD, [60])
            slots.empty()
            assert await step.step() == 0.0  # all that was chosen is being claimed by the other
            assert slots.free_slots == 5
            assert await step.step() == 0.0
            assert slots.free_slots == 0


async def test_after_a_fair_claim_that_took_too_long_claims_are_quick_for_a_while(stage: Stage) -> None:
    """Else nothing is claimed while what waits grows, and with it the time that a fair claim takes."""
    waiting(stage, "flood", 200, ago=60)
    now, slots = 0.0, Slots(5)
    async with (
        claims(stage, slots, clock=lambda: now, lock_timeout="50ms") as step,
        connect(stage.url, "other") as other,
    ):
        await step.step()  # full, so the next one is fair
        waiting(stage, "small", 1, ago=1)
        slots.empty()
        async with other.transaction():
            await other.execute("LOCK TABLE job_execution_log")
            with pytest.raises(StoreBusy):
                await step.claim(await stage.replica(), 5)
        for expected in ({"flood"}, {"flood"}, {"flood", "small"}):
            slots.empty()
            await step.step()
            assert {a.namespace for a in slots.running[-slots.count :]} == expected
            now += QUICK_SECONDS / 2


async def test_what_was_claimed_is_told_once_a_batch_and_nothing_is_not(stage: Stage) -> None:
    waiting(stage, "flood", 7, ago=60)
    told: list[int] = []
    slots = Slots(5)
    async with claims(stage, slots, on_claimed=lambda: told.append(slots.free_slots)) as step:
        for expected in (1, 2, 2):
            await step.step()
            slots.empty()
            assert len(told) == expected


async def test_a_claim_that_finds_nothing_waits_for_the_poll(stage: Stage) -> None:
    waiting(stage, "flood", 100, ago=60)
    slots = Slots(5)
    async with claims(stage, slots) as step, connect(stage.url, "other") as other:
        assert await step.step() == 0.0
        async with other.transaction():
            await other.execute(HELD, [100])
            slots.empty()
            assert [await step.step() for _ in range(3)] == [0.0, None, None]


async def test_a_replica_whose_loop_is_blocked_claims_nothing_and_gives_back_what_has_not_begun(stage: Stage) -> None:
    waiting(stage, "small", 8, ago=1)
    slots = Slots(5)
    async with claims(stage, slots) as step:
        assert await step.step() == 0.0
        slots.blocked = True
        assert await step.step() is None
        assert slots.running == []
        assert {(row["state"], row["attempt"]) for row in stage.rows()} == {("PENDING", 0)}
        slots.blocked = False
        assert await step.step() == 0.0
    assert len(slots.running) == 5


async def test_a_claim_that_a_limit_stops_waits_for_the_poll(stage: Stage) -> None:
    waiting(stage, "flood", 100, ago=60)
    slots = Slots(5)
    async with claims(stage, slots, limit=5) as step:
        assert await step.step() == 0.0
        slots.empty()
        assert await step.step() is None
    assert len(slots.running) == 5


async def test_another_namespace_has_its_turn_within_half_a_second_of_a_flood(stage: Stage) -> None:
    waiting(stage, "flood", 200, ago=60)
    now, slots = 0.0, Slots(5)
    async with claims(stage, slots, clock=lambda: now) as step:
        for _ in range(2):  # the second one is fair, and finds the flood alone
            slots.empty()
            await step.step()
        waiting(stage, "small", 1, ago=1)
        slots.empty()
        await step.step()
        assert {a.namespace for a in slots.running} == {"flood"}
        now += 0.5
        slots.empty()
        await step.step()
    assert "small" in {a.namespace for a in slots.running[-5:]}


async def test_a_drain_gives_back_what_a_claim_brought_unseen(stage: Stage) -> None:
    """Its answer was lost, or the claim was called off while it was on its way: nobody will start it here."""
    waiting(stage, "team", 3, ago=1)
    slots = Slots(5)
    async with claims(stage, slots) as step:
        assert step.replica is not None
        async with connect(stage.url, "test") as conn:
            assert len(await claim_executions(conn, step.replica, ["log"], 2)) == 2
        step.drain()
        assert not step.is_drained
        await step.step()
        assert step.is_drained
        assert slots.free_slots == 5
    with psycopg.connect(stage.url) as conn:
        rows = conn.execute("SELECT state, attempt, claimed_by FROM job_execution_log").fetchall()
    assert rows == [("PENDING", 0, None)] * 3


HAND_OVER = "UPDATE job_execution_log SET reason = 'HandedOver', result = '1' WHERE namespace = 'handed'"


def handed(stage: Stage, count: int, ago: int = 1) -> None:
    """What its replica left, whose work goes on."""
    waiting(stage, "handed", count, ago)
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(HAND_OVER)


@pytest.mark.parametrize("claim", [claim_executions, claim_fairly])
async def test_what_was_handed_over_is_claimed_before_all_that_waits(stage: Stage, claim: Any) -> None:
    waiting(stage, "flood", 50, ago=60)
    handed(stage, 3)
    replica = await stage.replica()
    async with connect(stage.url, "test") as conn:
        first = await claim(conn, replica, ["log"], 2)
        second = await claim(conn, replica, ["log"], 2)
    assert Counter(row["namespace"] for row in first) == {"handed": 2}
    assert Counter(row["namespace"] for row in second) == {"handed": 1, "flood": 1}


async def test_what_was_handed_over_counts_as_running(stage: Stage) -> None:
    waiting(stage, "handed", 10, ago=60)
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(f"{HAND_OVER} AND run_key::int <= 3".encode())
        conn.execute("UPDATE job_execution_log SET handler = 'elsewhere' WHERE reason = 'HandedOver'")
    assert await claim(stage, 10, per_namespace=3) == {}
    assert await claim(stage, 10, limit=5) == {"handed": 2}


async def test_no_limit_holds_back_what_was_handed_over(stage: Stage) -> None:
    waiting(stage, "flood", 5, ago=60)
    assert await claim(stage, 5, limit=4) == {"flood": 4}
    handed(stage, 3)
    assert await claim(stage, 10, limit=4, per_namespace=1) == {"handed": 3}
    assert await claim(stage, 10, limit=4, per_namespace=1) == {}


@pytest.mark.parametrize("name", ["claim_fairly", "claim_executions"])
async def test_what_was_handed_over_is_found_without_reading_what_waits(stage: Stage, name: str) -> None:
    waiting(stage, "flood", 20_000, ago=60)
    handed(stage, 3)
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("ANALYZE")
    limits = {"limited": True, "limits": '{"*": 100}', "global": 100, "choice": 40} if name == "claim_fairly" else {}
    async with connect(stage.url, "test", **POINT_READS) as conn:
        parameters = {"replica": await stage.replica(), "handlers": ["log"], "slots": 10, **limits}
        assert (await rows_read(conn, name, **parameters))["job_execution_log"] < 200


async def test_a_claim_of_what_was_handed_over_does_not_end_the_turns_of_namespaces(stage: Stage) -> None:
    waiting(stage, "flood", 200, ago=60)
    slots = Slots(5)
    async with claims(stage, slots, clock=lambda: 0.0) as step:
        await step.step()  # full, so the next one is fair
        handed(stage, 5)
        waiting(stage, "small", 1, ago=1)
        for _ in range(2):
            slots.empty()
            await step.step()
    assert {a.namespace for a in slots.running[5:10]} == {"handed"}
    assert "small" in {a.namespace for a in slots.running[10:]}
