"""Mirroring: what a change of a resource does to its job, and what it leaves alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from tests.integration.conftest import KEPT, REGISTRY, Stage, resource

from scheduledjobs.core.plan import Judge
from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.resource import RUN_NOW, Resource
from scheduledjobs.errors import KubeUnavailable, SpecError, StoreBusy, StoreUnavailable
from scheduledjobs.ledger.verify import verify
from scheduledjobs.steps.compare import differs
from scheduledjobs.steps.inbox import Gone, Inbox, Seen, read_anew
from scheduledjobs.steps.judge import JudgeAgain
from scheduledjobs.steps.mirror import Mirror
from scheduledjobs.steps.mirror_batch import MirrorBatch, Written
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.mirror import cancel_orphans
from scheduledjobs.store.sessions import connect

SECOND = timedelta(seconds=1)


async def test_a_new_job_counts_from_when_it_is_recorded(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s"))
    job = stage.job()
    assert job["state"] == "ACTIVE"
    assert job["next_fire_at"] == job["effective_from"] + 10 * SECOND
    assert [row["version"] for row in stage.rows("SELECT version FROM job_definition_version")] == [1]


async def test_an_edit_of_the_schedule_counts_from_when_it_is_recorded(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="10s"))
    stage.tick(seconds=5)
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="60s"))
    job = stage.job()
    assert job["version"] == 2
    assert job["next_fire_at"] == job["effective_from"] + 60 * SECOND
    assert stage.rows() == []


async def test_what_is_due_before_an_edit_fires_under_the_old_version(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="10s"))
    stage.tick(seconds=11)
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="60s"))
    (row,) = stage.rows()
    assert (row["state"], row["version"]) == ("PENDING", 1)


async def test_what_is_due_before_an_edit_of_anything_else_runs_as_the_job_is_after_it(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="10s", payload={"message": "old"}))
    stage.tick(seconds=11)
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="10s", payload={"message": "new"}))
    assert stage.rows() == []
    await stage.fire()
    (row,) = stage.rows()
    assert (row["state"], row["version"]) == ("PENDING", 2)


async def test_what_is_long_due_before_a_suspension_is_missed(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="10m"))
    stage.tick(hours=1, minutes=5)
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="10m", suspend=True))
    rows = stage.rows()
    assert {(row["state"], row["reason"]) for row in rows} == {("MISSED", "Suspended")}
    assert sum(row["moment_count"] for row in rows) == 6
    assert stage.job()["state"] == "SUSPENDED"


async def test_a_resume_fires_nothing_of_the_past_and_keeps_the_grid(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="10s", suspend=True))
    anchor = stage.job()["anchor_at"]
    stage.tick(seconds=35)
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="10s"))
    assert {(row["state"], row["reason"]) for row in stage.rows()} == {("SKIPPED", "Suspended")}
    assert stage.job()["next_fire_at"] == anchor + 40 * SECOND


@pytest.mark.parametrize(
    "change", [{"endTime": "2999-01-01T00:00:00Z"}, {"timeZone": "Europe/Berlin"}, {"timeZone": "Nowhere/At_All"}]
)
async def test_an_edit_of_another_schedule_field_keeps_the_grid(stage: Stage, change: dict[str, str]) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="1h"))
    anchor = stage.job()["anchor_at"]
    stage.tick(minutes=43)
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="1h", **change))
    stage.tick(minutes=4)
    await stage.mirror(resource(uid=uid, generation=3, fixedRate="1h"))
    assert stage.job()["next_fire_at"] == anchor + 3600 * SECOND
    assert stage.job()["effective_from"] > anchor
    await stage.mirror(resource(uid=uid, generation=4, fixedRate="2h"))
    assert stage.job()["next_fire_at"] == stage.job()["effective_from"] + 7200 * SECOND


async def test_a_grid_without_its_start_time_counts_from_the_version_that_set_its_period(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="1h"))
    anchor = stage.job()["anchor_at"]
    start = await stage.now() + 1800 * SECOND
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="1h", startTime=start.isoformat()))
    assert stage.job()["next_fire_at"] == start
    await stage.mirror(resource(uid=uid, generation=3, fixedRate="1h"))
    assert stage.job()["next_fire_at"] == anchor + 3600 * SECOND


async def test_pending_rows_survive_a_suspension_and_a_delete_cancels_them(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="10s"))
    stage.tick(seconds=11)
    await stage.fire()
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="10s", suspend=True))
    assert [row["state"] for row in stage.rows()] == ["PENDING"]
    await stage.mirror(Gone(uid, "default", "job"))
    assert [(row["state"], row["reason"]) for row in stage.rows()] == [("CANCELLED", "JobDeleted")]
    assert stage.rows("SELECT state, next_fire_at FROM job_definition") == [{"state": "DELETED", "next_fire_at": None}]


async def test_a_job_created_again_under_its_name_has_no_past(stage: Stage) -> None:
    old, new = resource(fixedRate="10s"), resource(fixedRate="10s", resource_version=5)
    await stage.mirror(old)
    stage.tick(hours=1)
    stage.living["default", "job"] = new
    await stage.mirror(new)
    states = {row["id"]: row["state"] for row in stage.rows("SELECT id, state FROM job_definition")}
    assert states == {old.meta.uid: "DELETED", new.meta.uid: "ACTIVE"}
    assert {(row["job_id"], row["reason"]) for row in stage.rows()} == {(old.meta.uid, "Deleted")}


def plan_later(stage: Stage) -> None:
    """Plan the next moment as by a tz database for which the zone was an hour behind."""
    with psycopg.connect(stage.url, autocommit=True) as conn:
        hour = "interval '1 h'"
        later = f"next_fire_at = next_fire_at + {hour}, next_due_at = next_due_at + {hour}"
        conn.execute(f"UPDATE job_definition SET {later}".encode())


async def test_the_next_moment_stays_as_an_older_tz_database_planned_it(stage: Stage) -> None:
    hour, day = 3600 * SECOND, 86_400 * SECOND
    nightly = {"uid": uuid4(), "schedule": "30 12 * * *", "timeZone": "Asia/Tokyo"}
    await stage.mirror(resource(**nightly))
    planned = stage.job()["next_fire_at"]
    plan_later(stage)
    await stage.mirror(resource(**nightly, generation=2, payload={"message": "new"}))
    stage.tick(seconds=(planned + hour + SECOND - await stage.now()).total_seconds())
    await stage.fire()
    assert [row["fire_time"] for row in stage.rows()] == [planned + hour]
    verdict = await verify(stage.url, lambda now: now - day, None, None, lambda *_: None, **stage.clock_setting)
    found = {(finding.kind, finding.moment) for finding in verdict.findings}
    assert found == {("lost", planned), ("not due", planned + hour)}
    assert stage.job()["next_fire_at"] == planned + day
    plan_later(stage)
    await stage.mirror(resource(**nightly, generation=3, suspend=True))
    await stage.mirror(resource(**nightly, generation=4))
    assert stage.job()["next_fire_at"] == planned + day


async def test_an_event_of_the_past_changes_nothing(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, generation=3, resource_version=30, fixedRate="10s"))
    await stage.mirror(resource(uid=uid, generation=2, resource_version=20, fixedRate="60s"))
    assert stage.job()["version"] == 3


async def test_only_a_quorum_read_revives_a_deleted_job(stage: Stage) -> None:
    uid = uuid4()
    seen = resource(uid=uid, fixedRate="10s")
    await stage.mirror(seen)
    await stage.mirror(Gone(uid, "default", "job"))
    await stage.mirror(resource(uid=uid, resource_version=9, fixedRate="10s"))
    assert stage.rows("SELECT state FROM job_definition") == [{"state": "DELETED"}]
    await stage.mirror(Seen(seen, is_quorum=True))
    assert stage.job()["state"] == "ACTIVE"


async def test_specs_that_cannot_work_say_why_and_leave_the_others_alone(stage: Stage) -> None:
    bad = {
        "InvalidSchedule": {"schedule": "0 0 31 2 *"},
        "UnknownTimeZone": {"schedule": "0 0 * * *", "timeZone": "Mars/Base"},
        "InvalidPayload": {"schedule": "0 0 * * *", "payload": {"seconds": "many"}},
        "HandlerNotFound": {"schedule": "0 0 * * *", "handler": "elsewhere"},
        "InvalidSpec": {"schedule": "0 0 * * *", "payload": {"nul": "\0"}},
    }
    for reason, spec in bad.items():
        await stage.mirror(resource(reason.lower(), **spec))
    await stage.mirror(resource("good", schedule="0 0 * * *", payload={"message": r"tr -d '\u0000'"}))  # no NUL
    jobs = {row["name"]: row for row in stage.rows("SELECT * FROM job_definition")}
    for reason in bad.keys() - {"InvalidSpec"}:
        assert (jobs[reason.lower()]["state"], jobs[reason.lower()]["reason"]) == ("INVALID", reason)
        assert jobs[reason.lower()]["message"]
    assert jobs["good"]["state"] == "ACTIVE"


async def test_one_object_that_raises_whatever_does_not_hold_up_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(spec: Any, namespace: str) -> None:
        if spec.payload.get("message") == "a defect":
            raise OverflowError("date value out of range")
        REGISTRY.check(spec, namespace)

    monkeypatch.setattr(Stage, "judge", Judge(lambda _: True, check))
    await stage.mirror(
        resource("one", fixedRate="1s"),
        resource("bad", fixedRate="1s", payload={"message": "a defect"}),
        resource("two", fixedRate="1s"),
    )
    assert [row["name"] for row in stage.rows("SELECT name FROM job_definition ORDER BY name")] == ["one", "two"]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("field", ["startTime", "endTime", "runAt"])
async def test_a_time_that_no_calendar_reaches_is_refused_by_name(stage: Stage, field: str, at: str) -> None:
    kind = {} if field == "runAt" else {"schedule": "* * * * *"}
    await stage.mirror(resource(**kind, **{field: at}))
    assert (stage.job()["state"], stage.job()["reason"]) == ("INVALID", "InvalidSpec")
    assert stage.job()["message"] == f"spec.{field}: must lie in the years 1970 to 9000"


async def test_a_start_between_two_milliseconds_is_met(stage: Stage) -> None:
    start = (await stage.now()).replace(microsecond=123_700) + SECOND
    await stage.mirror(resource(fixedRate="1s", startTime=start.isoformat()))
    stage.tick(seconds=3)
    await stage.fire()
    assert stage.rows()[0]["fire_time"] == start.replace(microsecond=123_000)
    assert {row["state"] for row in stage.rows()[1:]} == {"SKIPPED"}  # overlap: each moment has its row
    assert len(stage.rows()) >= 2


def test_what_is_put_back_does_not_hide_what_came_since() -> None:
    inbox, seen = Inbox(), resource(fixedRate="1s")
    newer = replace(seen, meta=replace(seen.meta, resource_version=9))
    gone = Gone(seen.meta.uid, "default", "job")
    for since, left in ((gone, gone), (Seen(newer), Seen(newer, is_quorum=True))):
        inbox.put(since)
        inbox.put_back([Seen(seen, is_quorum=True)])
        assert inbox.take(9) == [left]
    inbox.put_back([Seen(seen)])
    assert inbox.take(9) == [Seen(seen)]


def test_what_comes_while_a_quorum_read_waits_does_not_take_its_weight() -> None:
    """After etcd was restored all that it has is older by its numbers than the mirror: an event would be dropped."""
    inbox, old = Inbox(), resource(fixedRate="1s", resource_version=100)
    new = replace(old, meta=replace(old.meta, resource_version=105))
    mirrored = replace(old, meta=replace(old.meta, resource_version=5000))
    inbox.put(Seen(old, is_quorum=True))
    inbox.put(Seen(new))
    inbox.put(Seen(mirrored, judge_again=True))
    assert inbox.take(9) == [Seen(new, is_quorum=True, judge_again=True)]
    inbox.put(Seen(old))
    inbox.put(Seen(mirrored, judge_again=True))
    assert inbox.take(9) == [Seen(mirrored, judge_again=True)]  # an event of long ago


def test_what_is_gone_stays_gone_though_it_is_to_be_judged_again() -> None:
    """It is judged as the mirror has it, which has not heard of its end; nothing would tell of that again."""
    inbox, seen = Inbox(), resource(fixedRate="1s")
    gone = Gone(seen.meta.uid, "default", "job")
    inbox.put(gone)
    inbox.put(Seen(seen, judge_again=True))
    assert inbox.take(9) == [gone]
    inbox.put(Seen(seen, judge_again=True))
    inbox.put_back([gone])
    assert inbox.take(9) == [gone]
    inbox.put(gone)
    inbox.put(Seen(seen, is_quorum=True))  # a restored etcd has it again
    assert inbox.take(9) == [Seen(seen, is_quorum=True)]


async def test_what_waits_is_mirrored_before_it_is_said_to_be(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Any) -> None:
        raise StoreUnavailable("the connection was lost")

    monkeypatch.setattr("scheduledjobs.steps.mirror.BATCH", 2)
    inbox, said = Inbox(), list[int]()
    inbox.once_mirrored(lambda: said.append(0))
    assert said == [0]
    for number in range(3):
        inbox.put(Seen(resource(f"job-{number}")))
    inbox.once_mirrored(lambda: said.append(3))
    async with mirroring(stage, inbox, []) as mirror:
        with monkeypatch.context() as patch:
            patch.setattr(MirrorBatch, "write", fail)
            with pytest.raises(StoreUnavailable):
                await mirror.step()
        inbox.put(Seen(resource("later")))
        await mirror.step()  # the two that were put back stand behind the third, and before what came later
        assert (said, len(inbox)) == ([0], 2)
        await mirror.step()
    assert said == [0, 3]
    inbox.put(Seen(resource("last")))
    inbox.take(1)
    inbox.once_mirrored(lambda: said.append(1))
    assert said == [0, 3]  # it is in hand
    inbox.done()
    assert said == [0, 3, 1]


async def test_whoever_brings_much_in_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduledjobs.steps.inbox.ROOM_SECONDS", 0.0)
    inbox = Inbox()
    inbox.put(Seen(resource()))
    await inbox.room(2)
    with pytest.raises(StoreUnavailable, match="1 changes wait"):
        await inbox.room(1)


async def test_what_a_lost_commit_may_have_mirrored_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back it brings no news, if the COMMIT had landed: nobody else would look at its status."""

    async def fail(_: Any) -> None:
        raise StoreUnavailable("the answer was lost")

    async def wait(_: Any) -> None:
        raise StoreBusy("the lost one still holds its locks")

    inbox, found, told = Inbox(), resource(fixedRate="1s"), list[Written]()
    inbox.put(Seen(found))
    async with mirroring(stage, inbox, told) as mirror:
        with monkeypatch.context() as patch:
            patch.setattr(MirrorBatch, "write", fail)
            with pytest.raises(StoreUnavailable):
                await mirror.step()
        assert stage.unheard == [found.meta.uid]
        assert len(inbox) == 1
        with monkeypatch.context() as patch:
            patch.setattr(MirrorBatch, "write", wait)
            with pytest.raises(StoreBusy):
                await mirror.step()
        await mirror.apply([Seen(resource("another"))])
        await mirror.step()
        await mirror.apply([Seen(resource("a third"))])
    # Nor would it say that a version was rewritten.
    assert [written.is_rewritten for written in told] == [False, True, False]


async def test_all_parts_of_a_batch_are_told_of_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, a failure in telling of the first would leave the others untold."""
    bad = resource("bad")
    write = MirrorBatch._upsert

    async def refuse(self: MirrorBatch, written: Written) -> None:
        if bad.meta.uid in self._put:
            raise ValueError("cannot be written")
        await write(self, written)

    monkeypatch.setattr(MirrorBatch, "_upsert", refuse)
    inbox, told = Inbox(), list[Written]()
    gone = resource("gone", fixedRate="1s")
    await stage.mirror(gone)
    found = [resource(f"job-{n}", fixedRate="1s", annotations={RUN_NOW: "a"} if n == 0 else {}) for n in range(3)]
    for each in (*found[:1], Gone(gone.meta.uid, "default", "gone"), bad, *found[1:]):
        inbox.put(each if isinstance(each, Gone) else Seen(each))
    async with mirroring(stage, inbox, told) as mirror:
        await mirror.step()
    (written,) = told
    assert set(written.jobs) == {each.meta.uid for each in found}
    assert written.removed == [gone.meta.uid]
    assert [request.token for request in written.requests] == ["a"]
    assert not written.is_rewritten


@asynccontextmanager
async def mirroring(stage: Stage, inbox: Inbox, told: list[Written]) -> AsyncIterator[Mirror]:
    async def written(one: Written) -> None:
        told.append(one)

    get, hear = stage._get, stage.unheard.extend
    async with stage.leader() as leader:
        yield Mirror(leader, inbox, stage.specs, KEPT, stage.judge, get, written, on_unheard=hear)


async def test_a_read_that_was_overtaken_by_the_watch_is_made_again() -> None:
    inbox, old = Inbox(), resource(fixedRate="10s")
    new = replace(old, meta=replace(old.meta, generation=2, resource_version=2))
    answers = [old, new]

    async def get(_: str, __: str) -> Resource:
        answer = answers.pop(0)
        if answer is old:  # its answer is under way while the watch brings the edit
            inbox.put(Seen(new))
        return answer

    assert await read_anew(inbox, get, "default", "job") is new
    assert answers == []


async def test_two_uids_under_one_name_are_disputed_until_there_is_an_answer(stage: Stage) -> None:
    old, new = resource(fixedRate="10s"), resource(fixedRate="10s", resource_version=5)
    await stage.mirror(old)
    answers = [KubeUnavailable("GET: 503"), new]

    async def get(_: str, __: str) -> Resource:
        if isinstance(answer := answers.pop(0), KubeUnavailable):
            raise answer
        return answer

    inbox = Inbox()
    inbox.put(Seen(new))
    async with stage.leader() as leader:
        hear = stage.unheard.extend
        mirror = Mirror(leader, inbox, stage.specs, KEPT, stage.judge, get, stage._on_written, on_unheard=hear)
        with pytest.raises(KubeUnavailable):
            await mirror.step()
        while len(inbox):
            await mirror.step()
    states = {row["id"]: row["state"] for row in stage.rows("SELECT id, state FROM job_definition")}
    assert states == {old.meta.uid: "DELETED", new.meta.uid: "ACTIVE"}


async def test_a_restored_etcd_takes_a_job_back_and_numbers_its_versions_again(stage: Stage) -> None:
    uid = uuid4()
    lost = resource(uid=uid, generation=2, resource_version=20, fixedRate="60s", payload={"message": "lost"})
    await stage.mirror(resource(uid=uid, resource_version=10, fixedRate="10s"))
    await stage.mirror(lost)
    row = stage.job()
    executor = Specs()
    async with connect(stage.url, "test") as conn:
        await executor.learn(conn, [(uid, 2)])
        again = resource(uid=uid, generation=2, resource_version=15, fixedRate="30s", payload={"message": "again"})
        assert differs(row, again)
        assert not differs(row, lost)
        await stage.mirror(again)
        assert stage.job()["spec"]["fixedRate"] == "60s"  # an event of the past, for all that is known
        await stage.mirror(Seen(again, is_quorum=True))
        executor.doubt()
        await executor.learn(conn, [(uid, 2)])
    job = stage.job()
    assert (job["spec"]["fixedRate"], job["resource_version"]) == ("30s", 15)
    assert stage.written[-1].is_rewritten
    known = executor.known(uid, 2)
    assert known is not None
    assert known[0].payload == {"message": "again"}
    assert [w.is_rewritten for w in stage.written].count(True) == 1


async def test_a_float_too_large_for_an_integer_is_read_back_as_it_was(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s", payload={"message": "x", "big": 1e308}))
    job = stage.job()
    assert job["spec"]["payload"]["big"] == 1e308
    assert Specs().job(job).id == job["id"]


async def test_a_generation_that_is_used_again_is_known_by_its_spec(stage: Stage) -> None:
    uid = uuid4()
    seen = resource(uid=uid, generation=2, resource_version=10, fixedRate="10s", payload={"message": "lost"})
    again = resource(uid=uid, generation=2, resource_version=30, fixedRate="10s", payload={"message": "again"})
    for each in (seen, again):
        await stage.mirror(each)
    assert stage.job()["spec"]["payload"] == {"message": "lost"}
    await stage.mirror(Seen(again, is_quorum=True))
    assert stage.job()["spec"]["payload"] == {"message": "again"}
    versions = stage.rows("SELECT spec->'payload' AS payload FROM job_definition_version ORDER BY seq")
    assert [row["payload"]["message"] for row in versions] == ["lost", "again"]
    assert stage.written[-1].is_rewritten


async def test_what_goes_back_to_wait_as_its_job_is_deleted_is_cancelled(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="1m"))
    stage.tick(seconds=61)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    await stage.mirror(Gone(uid, "default", "job"))
    async with connect(stage.url, "test") as conn:
        await conn.execute("UPDATE job_execution_log SET state = 'PENDING', reason = 'Retrying', claimed_by = NULL")
        assert await cancel_orphans(conn) == 1
        assert await cancel_orphans(conn) == 0
    assert [(row["id"], row["state"], row["reason"]) for row in stage.rows()] == [
        (claimed["id"], "CANCELLED", "JobDeleted")
    ]


async def test_a_payload_over_32_kib_is_refused_with_its_size(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s", payload={"message": "x" * 33_000}))
    assert stage.job()["reason"] == "InvalidPayload"
    assert "32768" in stage.job()["message"]


async def test_a_run_now_runs_once_for_each_token(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, schedule="0 0 1 1 *"))
    for version, token in ((2, "a"), (3, "a"), (4, "b")):
        asked = resource(uid=uid, resource_version=version, schedule="0 0 1 1 *", annotations={RUN_NOW: token})
        await stage.mirror(asked)
    rows = stage.rows()
    assert [(row["run_key"], row["state"], row["trigger"]) for row in rows] == [
        ("a", "PENDING", "MANUAL"),
        ("b", "SKIPPED", "MANUAL"),
    ]
    assert rows[1]["reason"] == "Overlap"
    assert rows[1]["blocked_by"] == rows[0]["id"]


async def test_a_run_now_works_while_suspended(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="1h", suspend=True))
    asked = resource(uid=uid, resource_version=2, fixedRate="1h", suspend=True, annotations={RUN_NOW: "x"})
    await stage.mirror(asked)
    assert [row["state"] for row in stage.rows()] == ["PENDING"]
    assert stage.job()["state"] == "SUSPENDED"


async def test_a_token_that_was_there_at_first_sight_is_not_run(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", annotations={RUN_NOW: "restored"}))
    assert [(row["state"], row["reason"]) for row in stage.rows()] == [("SKIPPED", "PresentAtCreation")]


async def test_a_run_now_of_a_job_that_cannot_run_ends_in_a_row_too(stage: Stage) -> None:
    uid = uuid4()
    await stage.mirror(resource(uid=uid, fixedRate="1h", handler="elsewhere"))
    asked = resource(uid=uid, resource_version=2, fixedRate="1h", handler="elsewhere", annotations={RUN_NOW: "x"})
    await stage.mirror(asked)
    assert [(row["state"], row["reason"]) for row in stage.rows()] == [("SKIPPED", "NotReady")]


async def judge_again(stage: Stage) -> None:
    inbox = Inbox()
    async with stage.leader() as leader:
        step = JudgeAgain(leader, inbox, lambda: frozenset(stage.handlers))
        await step.step()
        changes = inbox.take(10)
        await step.step()  # nothing has changed since
        assert not len(inbox)
    await stage.mirror(*changes)


async def test_a_handler_that_comes_back_makes_its_jobs_run_from_then_on(stage: Stage) -> None:
    job = resource(fixedRate="10s")
    stage.handlers.clear()
    await stage.mirror(job)
    assert stage.job()["state"] == "INVALID"
    stage.tick(seconds=25)
    stage.handlers.add("log")
    await judge_again(stage)
    assert stage.job()["state"] == "ACTIVE"
    assert {(row["state"], row["reason"]) for row in stage.rows()} == {("SKIPPED", "NotReady")}
    stage.tick(seconds=10)
    await stage.fire()
    assert [row["state"] for row in stage.rows()][-1] == "PENDING"


async def test_a_one_shot_that_is_over_stays_completed_whatever_handlers_do(stage: Stage) -> None:
    await stage.mirror(resource(runAt=(await stage.now() + SECOND).isoformat()))
    stage.tick(seconds=2)
    await stage.fire()
    assert stage.job()["state"] == "COMPLETED"
    stage.handlers.clear()
    await judge_again(stage)
    assert stage.job()["reason"] == "HandlerNotFound"
    stage.handlers.add("log")
    await judge_again(stage)
    assert (stage.job()["state"], stage.job()["reason"]) == ("COMPLETED", "Completed")


async def test_an_edit_of_a_policy_keeps_the_grid_of_a_job_that_could_not_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = uuid4()

    def check(spec: Any, _namespace: str) -> None:
        if spec.concurrency_policy == "Replace":
            raise SpecError(Reason.INVALID_SPEC, "its handler cannot be cancelled")

    monkeypatch.setattr(Stage, "judge", Judge(lambda _: True, check))
    await stage.mirror(resource(uid=uid, fixedRate="1h", concurrencyPolicy="Replace"))
    before = stage.job()
    assert before["reason"] == "InvalidSpec"
    stage.tick(minutes=10)
    await stage.mirror(resource(uid=uid, generation=2, fixedRate="1h"))
    assert stage.job()["state"] == "ACTIVE"
    assert (stage.job()["anchor_at"], stage.job()["next_fire_at"]) == (before["anchor_at"], before["next_fire_at"])
