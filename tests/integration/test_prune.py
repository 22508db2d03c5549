"""Prune: deleted jobs are forgotten when no history is kept of them, and nothing else is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
import structlog
from tests.integration.conftest import KEPT, Stage, resource
from tests.integration.test_claims import ENDED, ROWS_READ

from scheduledjobs.core.resource import RUN_NOW
from scheduledjobs.errors import StoreError
from scheduledjobs.steps import prune
from scheduledjobs.steps.inbox import Gone, Seen
from scheduledjobs.store.mirror import forget_jobs
from scheduledjobs.store.partitions import DAY, list_partitions, partition_name
from scheduledjobs.store.sessions import connect

KEYS = {
    "job_definition": "id",
    "job_definition_version": "job_id",
    "run_request": "job_id",
    "job_execution_log": "job_id",
}
NOTHING = dict.fromkeys(KEYS, 0)
DELETED = """
INSERT INTO job_definition (
    id, namespace, name, version, resource_version, spec, state, reason, effective_from, created_at, updated_at,
    deleted_at
)
SELECT gen_random_uuid(), 'default', 'job-' || n, 1, 1, '{}', 'DELETED', 'Deleted', now(), now(), now(),
    now() - interval '40 days'
FROM generate_series(1, %s) AS n
RETURNING id
"""


def known(stage: Stage, uid: UUID) -> dict[str, int]:
    """How many rows each table has of a job."""
    return {
        table: len(stage.rows(f"SELECT 1 AS one FROM {table} WHERE {column} = '{uid}'"))
        for table, column in KEYS.items()
    }


def gone(stage: Stage, count: int) -> list[UUID]:
    """Jobs that were deleted forty days ago."""
    with psycopg.connect(stage.url, autocommit=True) as conn:
        return [uid for (uid,) in conn.execute(DELETED, [count]).fetchall()]


async def end_all(stage: Stage) -> None:
    replica = await stage.replica()
    for claimed in await stage.claim(replica):
        await stage.complete(replica, claimed)


async def test_a_deleted_job_is_forgotten_once_its_history_is_no_longer_kept(stage: Stage) -> None:
    uid, other = uuid4(), uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="1h"), resource("other", uid=other, fixedRate="1h", suspend=True))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    await end_all(stage)
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="2h", annotations={RUN_NOW: "now"}))
    await end_all(stage)
    await stage.mirror(Gone(uid, "default", "job"))
    stage.tick(days=KEPT.days)
    await stage.prune()
    assert 0 not in known(stage, uid).values()  # the day on which it was deleted is the oldest that is kept
    stage.tick(days=1)
    await stage.prune()
    assert known(stage, uid) == NOTHING
    assert known(stage, other) == NOTHING | {"job_definition": 1, "job_definition_version": 1}


async def test_a_deleted_job_is_kept_while_a_run_of_it_goes_on(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="1h"))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    await stage.mirror(Gone(uid, "default", "job"))
    stage.tick(days=KEPT.days + 1)
    await stage.prune()
    assert known(stage, uid) == NOTHING | {"job_definition": 1, "job_definition_version": 2, "job_execution_log": 1}
    assert await stage.complete(replica, claimed) == {claimed["id"]: "SUCCEEDED"}
    await stage.prune()
    assert known(stage, uid) == NOTHING


async def test_a_job_that_came_back_is_not_forgotten(stage: Stage) -> None:
    uid = uuid4()
    made = resource(uid=uid, fixedRate="1h", suspend=True)
    await stage.mirror(made)
    await stage.mirror(Gone(uid, "default", "job"))
    stage.tick(days=10)
    await stage.mirror(Seen(made, is_quorum=True))  # etcd was restored
    stage.tick(days=KEPT.days)
    await stage.prune()
    assert known(stage, uid) == NOTHING | {"job_definition": 1, "job_definition_version": 3}


async def test_a_job_that_comes_back_after_it_was_forgotten_is_a_new_one(stage: Stage) -> None:
    uid = uuid4()
    made = resource(uid=uid, fixedRate="1h", annotations={RUN_NOW: "now"})
    await stage.mirror(made)
    await stage.mirror(Gone(uid, "default", "job"))
    stage.tick(days=KEPT.days + 1)
    await stage.prune()
    assert known(stage, uid) == NOTHING
    await stage.mirror(Seen(made, is_quorum=True))
    assert (stage.job()["state"], stage.job()["last_fire_time"]) == ("ACTIVE", None)
    assert [(row["state"], row["reason"]) for row in stage.rows()] == [("SKIPPED", "PresentAtCreation")]


async def test_deleted_jobs_are_forgotten_a_bounded_number_at_a_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "MOST_JOBS", 2)
    monkeypatch.setattr(prune, "MOST_BATCHES", 2)
    gone(stage, 5)
    left = []
    for _ in range(2):
        await stage.prune()
        left.append(len(stage.rows("SELECT id FROM job_definition")))
    assert left == [1, 0]


async def test_a_deleted_job_that_somebody_has_locked_is_forgotten_later(stage: Stage) -> None:
    locked, *_ = gone(stage, 3)
    with psycopg.connect(stage.url) as conn:
        conn.execute("SELECT FROM job_definition WHERE id = %s FOR UPDATE", [locked])
        await stage.prune()
        assert [row["id"] for row in stage.rows("SELECT id FROM job_definition")] == [locked]
    await stage.prune()
    assert stage.rows("SELECT id FROM job_definition") == []


async def test_a_day_that_cannot_be_dropped_is_told_and_keeps_nothing_else(stage: Stage) -> None:
    """Somebody made a view of it, and the days come oldest first."""
    gone(stage, 1)
    stage.tick(days=KEPT.days + 2)
    async with connect(stage.url, "test") as conn:
        oldest = min(await list_partitions(conn))
        name = partition_name("job_execution_log", oldest)
        await conn.execute(f"CREATE VIEW mine AS SELECT * FROM {name}".encode())
    for _ in range(2):  # at the next pass it is a table that is no day of the log any more
        with pytest.raises(StoreError, match=f"cannot drop table {name}"):
            await stage.prune()
        async with connect(stage.url, "test") as conn:
            assert min(await list_partitions(conn)) == (await stage.now() - KEPT).date() > oldest + DAY
        assert stage.rows("SELECT id FROM job_definition") == []
    async with connect(stage.url, "test") as conn:
        await conn.execute("DROP VIEW mine")
    await stage.prune()
    assert stage.rows(f"SELECT to_regclass('{name}') AS there") == [{"there": None}]


async def days(stage: Stage) -> set[date]:
    async with connect(stage.url, "test") as conn:
        return set(await list_partitions(conn))


async def test_a_day_that_is_read_waits_and_keeps_no_other(stage: Stage) -> None:
    """PostgreSQL has one detach of a parent at a time: that of this day must not begin."""
    stage.tick(days=KEPT.days + 5)
    oldest, kept_from = min(await days(stage)), (await stage.now() - KEPT).date()
    with psycopg.connect(stage.url) as reader, structlog.testing.capture_logs() as logs:
        reader.execute(f"SELECT FROM {partition_name('job_execution_log', oldest)}".encode())
        await stage.prune(lock_timeout="100ms")
        assert sorted(await days(stage))[:2] == [oldest, kept_from]
    assert [log["days"] for log in logs if log["event"] == "days past the retention are in use"] == [[str(oldest)]]
    await stage.prune(lock_timeout="100ms")
    assert min(await days(stage)) == kept_from


async def test_days_wait_for_a_reader_of_later_ones_and_no_pass_fails(stage: Stage) -> None:
    """He reads the log by its parent: the detach of the first day waits for him, and the other days for that."""
    stage.tick(days=KEPT.days + 5)
    known, kept_from = await days(stage), (await stage.now() - KEPT).date()
    with psycopg.connect(stage.url) as reader, structlog.testing.capture_logs() as logs:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # as a dump
        reader.execute(f"SELECT FROM job_execution_log WHERE fire_time >= '{kept_from}'".encode())
        for _ in range(2):
            await stage.prune(lock_timeout="100ms")
            assert min(await days(stage)) == min(known)
    expired = [str(day) for day in sorted(known) if day < kept_from]
    assert [log["days"] for log in logs if log["event"] == "days past the retention are in use"] == [expired] * 2
    await stage.prune(lock_timeout="100ms")
    assert min(await days(stage)) == kept_from


FORGETTABLE = """
INSERT INTO scheduler_instance (id, hostname, version, started_at, heartbeat_at, dead_at, slots)
SELECT gen_random_uuid(), 'one', '', old, old, old, 1 FROM (SELECT now() - interval '40 days' AS old) AS o;
INSERT INTO leadership_term SELECT n, 'one', now() - interval '40 days' FROM generate_series(1, 101) AS n;
INSERT INTO notice_message (id, webhook) VALUES ('1', 'removed');
INSERT INTO notice_cursor (since) VALUES (now());
"""
CLEANED = {"job_definition": 0, "scheduler_instance": 0, "leadership_term": 100, "notice_message": 0}
"""What is left in each table of which something is forgotten."""


@pytest.mark.parametrize("refused", ["job_definition", "scheduler_instance", "leadership_term"])
async def test_a_clean_up_that_is_refused_is_told_and_keeps_no_other(stage: Stage, refused: str) -> None:
    gone(stage, 1)
    refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$"
    with psycopg.connect(stage.url) as conn:
        conn.execute(FORGETTABLE.encode())
        conn.execute(refuse.encode())
        conn.execute(f"CREATE TRIGGER refuse BEFORE DELETE ON {refused} EXECUTE FUNCTION refuse()".encode())
    with pytest.raises(StoreError, match="refused"):
        await stage.prune()
    left = {table: len(stage.rows(f"SELECT 1 AS one FROM {table}")) for table in CLEANED}
    assert left == CLEANED | {refused: CLEANED[refused] + 1}


@pytest.mark.parametrize("is_analyzed", [True, False])
async def test_the_log_is_not_read_to_forget_jobs(stage: Stage, *, is_analyzed: bool) -> None:
    gone(stage, 2000)
    async with connect(stage.url, "test") as conn:
        await conn.execute(ENDED.encode())
        if is_analyzed:
            await conn.execute("ANALYZE")
        async with conn.transaction():
            assert await forget_jobs(conn, datetime.now(UTC), 1000) == 1000
            ((read,),) = await (await conn.execute(ROWS_READ.encode())).fetchall()
    assert read < 100
