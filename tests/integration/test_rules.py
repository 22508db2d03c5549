"""The rules of misfire, overlap, retries, pauses and run-now, as rows in a real database. One test a rule."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from structlog.testing import capture_logs
from tests.integration.conftest import KEPT, Stage, resource

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.steps import release
from scheduledjobs.steps.inbox import Gone
from scheduledjobs.steps.mirror_batch import MirrorBatch
from scheduledjobs.steps.resume import RETRY_SECONDS, Resume
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.executions import cancel_execution, find_stops, return_abandoned
from scheduledjobs.store.sessions import connect

SECOND, MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)
RUN_NOW = "scheduledjobs.dev/run-now"
PAYLOAD = "scheduledjobs.dev/run-now-payload"
UNTIL = "scheduledjobs.dev/paused-until"


def summary(stage: Stage) -> list[tuple[str, str | None]]:
    return [(row["state"], row["reason"]) for row in stage.rows()]


async def running(stage: Stage, **spec: Any) -> tuple[UUID, dict[str, Any]]:
    """A job of one second whose first execution runs; return its replica and claim."""
    await stage.mirror(resource(fixedRate="1s", uid=UUID(int=1), **spec))
    stage.tick(seconds=1.1)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    return replica, claimed


async def test_queue_holds_the_next_run_until_the_first_has_ended(stage: Stage) -> None:
    replica, claimed = await running(stage, concurrencyPolicy="Queue")
    for _ in range(2):
        stage.tick(seconds=1)
        await stage.fire()
    assert summary(stage) == [("RUNNING", None), ("PENDING", "Queued"), ("SKIPPED", "QueueFull")]
    await stage.release()
    assert await stage.claim(replica) == []
    await stage.complete(replica, claimed)
    await stage.release()
    (second,) = await stage.claim(replica)
    assert second["fire_time"] == claimed["fire_time"] + SECOND


async def test_replace_stops_the_running_one_and_runs_when_it_has_ended(stage: Stage) -> None:
    replica, claimed = await running(stage, concurrencyPolicy="Replace")
    stage.tick(seconds=1)
    await stage.fire()
    async with connect(stage.url, "test") as conn:
        (stop,) = await find_stops(conn, replica)
    assert (stop["id"], stop["cancel_reason"]) == (claimed["id"], "Replaced")
    await stage.release()
    assert await stage.claim(replica) == []
    await stage.complete(replica, claimed, "CANCELLED")
    await stage.release()
    assert len(await stage.claim(replica)) == 1


async def test_replace_cancels_what_has_not_started_and_skips_what_was_held(stage: Stage) -> None:
    await running(stage, concurrencyPolicy="Replace")
    for _ in range(2):
        stage.tick(seconds=1)
        await stage.fire()
    assert summary(stage) == [("RUNNING", None), ("SKIPPED", "Replaced"), ("PENDING", "Replacing")]
    await stage.mirror(resource("other", fixedRate="1s", concurrencyPolicy="Replace"))
    for _ in range(2):
        stage.tick(seconds=1)
        await stage.fire()
    rows = stage.rows("SELECT state, reason FROM job_execution_log WHERE job_name = 'other' ORDER BY fire_time")
    assert [tuple(row.values()) for row in rows] == [("CANCELLED", "Replaced"), ("PENDING", None)]


async def test_replace_asks_again_for_a_stop_that_was_not_written(stage: Stage) -> None:
    replica, _ = await running(stage, concurrencyPolicy="Replace")
    stage.tick(seconds=1)
    await stage.fire()
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("UPDATE job_execution_log SET cancel_reason = NULL")
    await stage.release()
    async with connect(stage.url, "test") as found:
        assert len(await find_stops(found, replica)) == 1


async def test_replace_does_not_wait_for_the_retry_of_what_it_replaces(stage: Stage) -> None:
    """Its attempt failed after the newcomer had found it running, and before it was asked to stop."""
    replica, claimed = await running(stage, concurrencyPolicy="Replace")
    stage.tick(seconds=1)
    await stage.fire()
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("UPDATE job_execution_log SET cancel_reason = NULL")
    await stage.complete(replica, claimed, "FAILED", retry_seconds=600)
    assert summary(stage) == [("PENDING", "Retrying"), ("PENDING", "Replacing")]
    await stage.release()
    await stage.release()
    assert summary(stage)[0] == ("CANCELLED", "Replaced")
    (second,) = await stage.claim(replica)
    assert second["fire_time"] == claimed["fire_time"] + SECOND


async def test_what_is_replaced_is_not_tried_again_once_its_abandoned_code_returns(stage: Stage) -> None:
    replica, claimed = await running(stage, concurrencyPolicy="Replace")
    await stage.complete(replica, claimed, "TIMED_OUT", abandoned=True)
    stage.tick(seconds=1)
    await stage.fire()
    await stage.release()
    assert await stage.claim(replica) == []  # its code goes on
    key = {name: claimed[name] for name in ("id", "fire_time", "claim_no", "job_id")}
    async with connect(stage.url, "test") as conn:
        assert await return_abandoned(conn, replica, [{**key, "retry_seconds": 600.0}]) == {claimed["id"]: "TIMED_OUT"}
    await stage.release()
    (second,) = await stage.claim(replica)
    assert second["fire_time"] == claimed["fire_time"] + SECOND


async def test_forbid_ends_a_run_that_only_waits_for_backoff(stage: Stage) -> None:
    replica, claimed = await running(stage)
    await stage.complete(replica, claimed, "FAILED", retry_seconds=600)
    stage.tick(seconds=1)
    await stage.fire()
    assert summary(stage) == [("FAILED", "SupersededByNextFire"), ("PENDING", None)]
    assert stage.rows()[0]["finished_at"] is not None


async def test_a_retry_waits_for_its_backoff_and_counts_its_attempts(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", startingDeadline="10s"))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    replica = await stage.replica()
    (first,) = await stage.claim(replica)
    assert await stage.complete(replica, first, "FAILED", retry_seconds=30) == {first["id"]: "PENDING"}
    assert await stage.claim(replica) == []
    stage.tick(seconds=31)
    await stage.release()  # past startingDeadline, which is not for retries
    (second,) = await stage.claim(replica)
    assert (second["id"], second["attempt"], second["claim_no"]) == (first["id"], 2, 2)
    await stage.complete(replica, second)
    assert summary(stage) == [("SUCCEEDED", None)]


async def test_a_deleted_job_is_not_retried(stage: Stage) -> None:
    replica, claimed = await running(stage)
    await stage.mirror(Gone(UUID(int=1), "default", "job"))
    assert await stage.complete(replica, claimed, "FAILED", retry_seconds=1) == {claimed["id"]: "FAILED"}


async def test_a_lost_attempt_is_retried_where_budget_remains(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", retry={"limit": 1, "backoff": "1s"}))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    (lost,) = await stage.claim(uuid4())
    stage.tick(seconds=100)
    await stage.rescue()
    assert summary(stage) == [("PENDING", "Retrying")]
    assert stage.rows()[0]["duration_ms"] // 60_000 == 1
    (attempt,) = stage.rows("SELECT * FROM job_execution_attempt")
    assert (attempt["attempt"], attempt["state"], attempt["execution_id"]) == (1, "LOST", lost["id"])
    assert (attempt["finished_at"] - attempt["started_at"]).total_seconds() // 60 == 1
    stage.tick(seconds=5)
    (again,) = await stage.claim(uuid4())
    assert again["attempt"] == 2
    stage.tick(seconds=1000)
    await stage.rescue()
    assert summary(stage) == [("LOST", "ReplicaDied")]
    assert stage.rows()[0]["duration_ms"] // 60_000 == 16  # of this attempt, not of the first


async def test_the_retry_of_an_abandoned_attempt_waits_for_its_thread(stage: Stage) -> None:
    replica, claimed = await running(stage, concurrencyPolicy="Queue")
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(
            "UPDATE job_execution_log SET state = 'TIMED_OUT', reason = 'TimeoutExceeded', abandoned = true,"
            " finished_at = scheduler_now()"
        )
    stage.tick(seconds=1)
    await stage.fire()
    assert summary(stage)[1] == ("PENDING", "Queued")  # an abandoned one is live
    key = {name: claimed[name] for name in ("id", "fire_time", "claim_no", "job_id")}
    async with connect(stage.url, "test") as conn:
        assert await return_abandoned(conn, replica, [{**key, "retry_seconds": 1.0}]) == {claimed["id"]: "PENDING"}


async def test_a_cancelled_run_is_not_retried_when_its_abandoned_thread_returns(stage: Stage) -> None:
    replica, claimed = await running(stage)
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(
            "UPDATE job_execution_log SET state = 'TIMED_OUT', reason = 'TimeoutExceeded', abandoned = true,"
            " finished_at = scheduler_now()"
        )
    key = {name: claimed[name] for name in ("id", "fire_time", "claim_no", "job_id")}
    async with connect(stage.url, "test") as conn:
        asked = await cancel_execution(conn, claimed["id"], "ana")
        assert asked is not None
        assert asked["state"] == "TIMED_OUT"
        assert await return_abandoned(conn, replica, [{**key, "retry_seconds": 1.0}]) == {claimed["id"]: "TIMED_OUT"}
        assert await cancel_execution(conn, claimed["id"], "ana") is None  # nothing is left to cancel
    assert stage.rows()[0]["finished_at"] is not None


async def test_a_waiting_run_is_cancelled_at_once_and_a_running_one_asked_to_stop(stage: Stage) -> None:
    replica, claimed = await running(stage, concurrencyPolicy="Allow")
    stage.tick(seconds=1)
    await stage.fire()
    waiting = stage.rows()[1]
    async with connect(stage.url, "test") as conn:
        cancelled = await cancel_execution(conn, waiting["id"], "ana")
        asked = await cancel_execution(conn, claimed["id"], "ana")
        assert await cancel_execution(conn, waiting["id"], "ana") is None
        (stop,) = await find_stops(conn, replica)
    assert cancelled is not None
    assert asked is not None
    assert (cancelled["state"], asked["state"], stop["id"]) == ("CANCELLED", "RUNNING", claimed["id"])
    assert summary(stage)[1] == ("CANCELLED", "CancelRequested")


async def test_a_fire_all_chain_runs_one_after_the_other(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1m", misfire={"policy": "FireAll", "limit": 3}))
    stage.tick(minutes=10, seconds=1)
    await stage.fire()
    assert summary(stage)[-3:] == [("PENDING", None), ("PENDING", "CatchingUp"), ("PENDING", "CatchingUp")]
    replica = await stage.replica()
    ran = []
    for _ in range(3):
        (claimed,) = await stage.claim(replica)
        ran.append(claimed["fire_time"])
        await stage.complete(replica, claimed)
        await stage.release()
    assert ran == sorted(ran)
    assert len(ran) == 3


async def test_a_jittered_moment_fires_when_its_jitter_has_passed(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s", jitter="10s"))
    job = stage.job()
    assert timedelta(0) <= job["next_due_at"] - job["next_fire_at"] < 10 * SECOND
    stage.tick(seconds=(job["next_due_at"] - await stage.now()).total_seconds() + 0.5)
    await stage.fire()
    (row,) = stage.rows()
    assert row["fire_time"] == job["next_fire_at"]
    (claimed,) = await stage.claim(await stage.replica())
    assert claimed["id"] == row["id"]
    (row,) = stage.rows()
    assert row["lateness_ms"] < 5000


def at(moment: datetime) -> str:
    return moment.isoformat()


async def test_a_pause_skips_moments_and_ends_by_itself(stage: Stage) -> None:
    now = await stage.now()
    until = now + 60 * SECOND
    await stage.mirror(resource(fixedRate="10s", annotations={UNTIL: at(until), "scheduledjobs.dev/paused-by": "ana"}))
    job = stage.job()
    assert (job["state"], job["paused_by"], job["paused_until"]) == ("SUSPENDED", "ana", until)
    stage.tick(seconds=30)
    await stage.fire(sweep=True)
    stage.tick(seconds=60)
    await stage.resume()
    job = stage.job()
    assert (job["state"], job["effective_from"], job["paused_until"]) == ("ACTIVE", until, None)
    await stage.fire()
    skipped = [row for row in stage.rows() if row["reason"] == "Suspended"]
    assert sum(row["moment_count"] for row in skipped) in (5, 6)
    assert max(row["last_fire_time"] for row in skipped) < until
    assert "ana" in skipped[0]["message"]
    assert min(row["fire_time"] for row in stage.rows() if row["reason"] != "Suspended") >= until


async def test_a_pause_that_ended_while_nobody_watched_counts_from_its_end(stage: Stage) -> None:
    now = await stage.now()
    until = now + 60 * SECOND
    await stage.mirror(resource(fixedRate="10s", annotations={UNTIL: at(until)}))
    stage.tick(hours=2)
    await stage.resume()
    await stage.fire()
    reasons = {row["reason"] for row in stage.rows()}
    assert reasons == {"Suspended", "Coalesced", None}  # the misfire rule decides what came after the pause


async def test_a_sweep_before_its_end_is_noticed_skips_nothing_after_a_pause(stage: Stage) -> None:
    until = await stage.now() + 60 * SECOND
    await stage.mirror(resource(fixedRate="10s", annotations={UNTIL: at(until)}))
    stage.tick(minutes=10)
    await stage.fire(sweep=True)
    await stage.resume()
    await stage.fire()
    assert max(row["last_fire_time"] for row in stage.rows() if row["reason"] == "Suspended") < until
    (run,) = [row for row in stage.rows() if row["state"] == "PENDING"]
    assert run["first_missed_at"] >= until


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (resource(fixedRate="10s", uid=UUID(int=1), resource_version=2, annotations={UNTIL: "forever"}), "Suspended"),
        (resource(fixedRate="10s", uid=UUID(int=1), generation=2, suspend=True), "Suspended"),
        (resource(fixedRate="20s", uid=UUID(int=1), generation=2), "Edited"),
        (Gone(UUID(int=1), "default", "job"), "Deleted"),
    ],
    ids=["another pause", "a suspension", "an edit", "a delete"],
)
async def test_a_change_before_its_end_is_noticed_settles_what_was_due_after_a_pause(
    stage: Stage, change: Any, reason: str
) -> None:
    until = await stage.now() + 60 * SECOND
    await stage.mirror(resource(fixedRate="10s", uid=UUID(int=1), annotations={UNTIL: at(until)}))
    stage.tick(minutes=10)
    await stage.mirror(change)
    skipped = [row for row in stage.rows() if (row["state"], row["reason"]) == ("SKIPPED", "Suspended")]
    assert skipped
    assert max(row["last_fire_time"] for row in skipped) < until
    missed = [row for row in stage.rows() if row["state"] == "MISSED"]
    assert {row["reason"] for row in missed} == {reason}
    assert min(row["fire_time"] for row in missed) - until < 10 * SECOND


async def test_a_pause_that_cannot_be_read_pauses(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s", annotations={UNTIL: "soon"}))
    job = stage.job()
    assert (job["state"], job["reason"]) == ("SUSPENDED", "InvalidPause")


async def test_removing_a_pause_resumes_from_now(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s", uid=UUID(int=1), annotations={UNTIL: "forever"}))
    stage.tick(seconds=35)
    await stage.mirror(resource(fixedRate="10s", uid=UUID(int=1), resource_version=2))
    job = stage.job()
    assert job["state"] == "ACTIVE"
    assert job["next_fire_at"] > await stage.now()
    assert summary(stage) == [("SKIPPED", "Suspended")]


async def test_a_suspended_one_shot_is_due_when_the_suspension_ends(stage: Stage) -> None:
    run_at = await stage.now() + 10 * SECOND
    await stage.mirror(resource(runAt=at(run_at), uid=UUID(int=1), suspend=True))
    stage.tick(seconds=30)
    await stage.fire(sweep=True)
    assert stage.rows() == []
    await stage.mirror(resource(runAt=at(run_at), uid=UUID(int=1), generation=2))
    await stage.fire()
    assert summary(stage) == [("PENDING", None)]


async def request(stage: Stage, token: str, version: int, **more: Any) -> None:
    payload = more.pop("override", None)
    annotations = {RUN_NOW: token, **({PAYLOAD: payload} if payload is not None else {})}
    await stage.mirror(
        resource(fixedRate="1h", uid=UUID(int=1), resource_version=version, annotations=annotations, **more)
    )


async def test_run_now_takes_its_own_payload(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=UUID(int=1)))
    await request(stage, "t1", 2, override='{"message": "by hand"}')
    (claimed,) = await stage.claim(await stage.replica())
    assert (claimed["payload"], claimed["run_key"]) == ({"message": "by hand"}, "t1")
    (kept,) = stage.rows("SELECT payload FROM run_request")
    assert kept["payload"] == {"message": "by hand"}


@pytest.mark.parametrize("override", ["[1]", "{", '{"message": NaN}', '{"seconds": "many"}', '{"unknown": 1}'])
async def test_a_run_now_payload_that_does_not_fit_is_refused_in_its_own_row(stage: Stage, override: str) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=UUID(int=1)))
    await request(stage, "t1", 2, override=override)
    assert summary(stage) == [("SKIPPED", "InvalidPayload")]
    assert "run-now-payload" in stage.rows()[0]["message"]


async def test_a_run_now_payload_takes_the_place_of_one_that_does_not_fit(stage: Stage) -> None:
    bad = {"payload": {"seconds": "many"}}
    await stage.mirror(resource(fixedRate="1h", uid=UUID(int=1), **bad))
    assert stage.job()["reason"] == "InvalidPayload"
    await request(stage, "t1", 2, override='{"message": "by hand"}', **bad)
    assert summary(stage) == [("PENDING", None)]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"schedule": "0 0 31 2 *"}, "InvalidSchedule"),
        ({"schedule": "* * * * *", "timeZone": "Mars/Base"}, "UnknownTimeZone"),
        ({"schedule": "* * * * *", "jitter": "2m"}, "InvalidSpec"),
        ({"schedule": "* * * * *", "handler": "elsewhere"}, "HandlerNotFound"),
    ],
)
@pytest.mark.parametrize("more", [{}, {PAYLOAD: '{"message": "by hand"}'}], ids=["as it is", "its own payload"])
async def test_no_payload_mends_a_job_that_cannot_run_for_another_reason(
    stage: Stage, spec: dict[str, Any], reason: str, more: dict[str, str]
) -> None:
    await stage.mirror(resource(uid=UUID(int=1), **spec))
    assert stage.job()["reason"] == reason
    annotations = {RUN_NOW: "t1", **more}
    await stage.mirror(resource(uid=UUID(int=1), resource_version=2, annotations=annotations, **spec))
    assert [(row["state"], row["reason"]) for row in stage.rows() if row["run_key"]] == [("SKIPPED", "NotReady")]


async def test_run_now_obeys_queue_and_replace(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=UUID(int=1), concurrencyPolicy="Queue"))
    for number in (1, 2, 3):
        await request(stage, f"t{number}", number + 1, concurrencyPolicy="Queue")
    assert summary(stage) == [("PENDING", None), ("PENDING", "Queued"), ("SKIPPED", "QueueFull")]


async def test_run_now_works_while_suspended_and_does_not_resume(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=UUID(int=1), suspend=True))
    await request(stage, "t1", 2, suspend=True)
    assert summary(stage) == [("PENDING", None)]
    assert stage.job()["state"] == "SUSPENDED"


async def test_a_token_is_one_run_for_the_life_of_the_job(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=UUID(int=1), concurrencyPolicy="Allow"))
    for number, token in enumerate(["a", "b", "a"]):
        await request(stage, token, number + 2, concurrencyPolicy="Allow")
    assert [row["run_key"] for row in stage.rows()] == ["a", "b"]


async def test_every_change_of_what_is_in_force_is_a_version_row(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=UUID(int=1)))
    await stage.mirror(resource(fixedRate="1h", uid=UUID(int=1), resource_version=2, annotations={UNTIL: "forever"}))
    await stage.mirror(resource(fixedRate="2h", uid=UUID(int=1), generation=2, resource_version=3))
    await stage.mirror(Gone(UUID(int=1), "default", "job"))
    rows = stage.rows(
        "SELECT version, state, paused_until IS NOT NULL AS paused FROM job_definition_version ORDER BY recorded_at"
    )
    assert [tuple(row.values()) for row in rows] == [
        (1, "ACTIVE", False),
        (1, "SUSPENDED", True),
        (2, "ACTIVE", False),
        (2, "DELETED", False),
    ]


async def test_a_job_created_again_under_its_name_has_no_past(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s", uid=UUID(int=1)))
    stage.tick(seconds=25)
    await stage.mirror(Gone(UUID(int=1), "default", "job"))
    await stage.mirror(resource(fixedRate="10s", uid=UUID(int=2)))
    stage.tick(seconds=11)
    await stage.fire()
    rows = stage.rows("SELECT job_id, state, reason FROM job_execution_log ORDER BY fire_time")
    assert [(row["job_id"].int, row["state"], row["reason"]) for row in rows] == [
        (1, "MISSED", "Deleted"),
        (2, "PENDING", None),
    ]


async def test_one_job_that_cannot_be_read_does_not_stop_the_release_of_others(stage: Stage) -> None:
    await stage.mirror(resource("bad", fixedDelay="1s"), resource("good", fixedDelay="1s"))
    stage.tick(seconds=1.1)
    await stage.fire()
    replica = await stage.replica()
    for claimed in await stage.claim(replica):
        await stage.complete(replica, claimed)
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("UPDATE job_definition SET spec = '{\"handler\": 7}' WHERE name = 'bad'")
    stage.specs = Specs()
    await stage.release()
    planned = {row["name"]: row["next_fire_at"] for row in stage.rows("SELECT name, next_fire_at FROM job_definition")}
    assert planned["bad"] is None
    assert planned["good"] is not None


async def test_a_locked_job_does_not_hold_up_the_release_of_others(stage: Stage) -> None:
    await stage.mirror(resource("locked", fixedDelay="10s"), resource("free", fixedDelay="10s"))
    stage.tick(seconds=11)
    await stage.fire()
    replica = await stage.replica()
    for claimed in await stage.claim(replica):
        await stage.complete(replica, claimed)
    with psycopg.connect(stage.url) as stranger:
        stranger.execute("SELECT FROM job_definition WHERE name = 'locked' FOR UPDATE")
        async with asyncio.timeout(1.5):  # less than the lock timeout of a leader
            await stage.release()
        waiting = "SELECT name FROM job_definition WHERE next_fire_at IS NULL"
        assert [row["name"] for row in stage.rows(waiting)] == ["locked"]
        stranger.rollback()
    await stage.release()
    assert stage.rows(waiting) == []


async def test_the_end_of_a_pause_is_looked_for_ahead_and_not_slept_through(stage: Stage) -> None:
    until = await stage.now() + 60 * SECOND
    await stage.mirror(resource(fixedRate="10s", annotations={UNTIL: at(until)}))
    assert await resume_once(stage) is None
    stage.tick(seconds=(until - await stage.now()).total_seconds() - 7)
    assert await resume_once(stage) == 1.0
    stage.tick(seconds=6.5)
    wait = await resume_once(stage)
    assert wait is not None
    assert 0 < wait <= 0.5


async def test_an_end_of_a_pause_whose_commit_may_have_landed_unheard_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = await stage.now() + 60 * SECOND
    await stage.mirror(resource(fixedRate="10s", annotations={UNTIL: at(until)}))
    stage.tick(seconds=61)

    async def fail(_: Any) -> None:
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(MirrorBatch, "write", fail)
    with pytest.raises(StoreUnavailable):
        await resume_once(stage)
    assert stage.unheard == [stage.job()["id"]]


async def test_a_pause_that_cannot_be_ended_holds_up_none_behind_it_and_is_told_of_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = await stage.now() + 60 * SECOND
    names = [*(f"bad-{number}" for number in range(201)), "good"]  # a look takes 200
    ends = [*[until] * 201, until + SECOND]
    await stage.mirror(
        *(resource(name, fixedRate="10s", annotations={UNTIL: at(end)}) for name, end in zip(names, ends, strict=True))
    )
    stage.tick(seconds=62)
    active = "SELECT name FROM job_definition WHERE state = 'ACTIVE'"
    put, now = MirrorBatch.put, 0.0

    def refuse(self: MirrorBatch, found: Resource) -> None:
        if found.meta.name.startswith("bad"):
            raise ValueError("cannot be read")
        put(self, found)

    monkeypatch.setattr(MirrorBatch, "put", refuse)
    async with stage.leader() as leader:
        hear = stage.unheard.extend
        step = Resume(leader, stage.specs, KEPT, stage.judge, stage._on_written, lambda: now, on_unheard=hear)
        with capture_logs() as said:
            while await step.step() == 0.0:
                pass
            assert stage.rows(active) == [{"name": "good"}]
            now += RETRY_SECONDS + 1
            while await step.step() == 0.0:
                pass
        assert sum(each["event"] == "pause cannot be ended" for each in said) == 201
        assert stage.unheard == []
        monkeypatch.undo()
        now += RETRY_SECONDS + 1
        while await step.step() == 0.0:
            pass
    assert len(stage.rows(active)) == 202


async def test_a_release_whose_commit_may_have_landed_unheard_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job waits no more then, so no later pass would come to it, and its status would stay as it was."""
    await stage.mirror(resource(fixedDelay="24h"))

    async def fail(*_: Any) -> None:
        raise StoreUnavailable("the answer was lost")

    stage.tick(hours=25)
    await stage.fire()
    (claimed,) = await stage.claim(replica := await stage.replica())
    await stage.complete(replica, {**claimed, "claimed_by": replica})
    monkeypatch.setattr(release, "release_jobs", fail)
    with pytest.raises(StoreUnavailable):
        await stage.release()
    assert stage.unheard == [stage.job()["id"]]


async def resume_once(stage: Stage) -> float | None:
    async with stage.leader() as leader:
        hear = stage.unheard.extend
        return await Resume(leader, stage.specs, KEPT, stage.judge, stage._on_written, on_unheard=hear).step()
