"""Quotas of namespaces: the newest jobs over them are not ready, and what makes room lets the next one in."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.integration.conftest import KEPT, REGISTRY, Stage, resource

from scheduledjobs.core.plan import Judge
from scheduledjobs.core.quota import Quotas, read_quotas
from scheduledjobs.core.resource import RUN_NOW, RUN_NOW_PAYLOAD, Resource
from scheduledjobs.core.status_of import conditions
from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.steps import quota
from scheduledjobs.steps.inbox import Gone, Inbox, Seen
from scheduledjobs.steps.mirror import Mirror
from scheduledjobs.steps.quota import Counted, JudgeQuota
from scheduledjobs.store.executions import claim_fairly, lock_claims
from scheduledjobs.store.mirror import load_places
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Connection, connect

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
THREE = read_quotas({"*": {"jobs": 3}})


def job(number: int, namespace: str = "finance", **changes: Any) -> Resource:
    """A job made at the second `number` of the year, with an id that says nothing of its age."""
    uid = UUID(int=random.Random(f"{namespace}/{number}").getrandbits(128))
    spec = {"fixedRate": "1m", **changes}
    made = resource(f"job-{number}", uid=uid, created_at=NEW_YEAR + timedelta(seconds=number), **spec)
    return replace(made, meta=replace(made.meta, namespace=namespace))


async def mirror(stage: Stage, quotas: Quotas, *changes: Resource | Gone | Seen) -> Counted:
    """Mirror changes as the leader of a new term does, quotas included, until nothing is left to do."""
    inbox, counted = Inbox(), Counted(quotas)
    async with stage.leader() as leader:
        async with leader.session() as conn:
            await counted.load(conn)
        judge = Judge(stage.handlers.__contains__, REGISTRY.check, counted.message)
        get, told, hear = stage._get, stage._on_written, stage.unheard.extend
        step = Mirror(leader, inbox, stage.specs, KEPT, judge, get, told, counted, on_unheard=hear)
        again = JudgeQuota(leader, counted, lambda found: inbox.put(Seen(found, judge_again=True)))
        for change in changes:
            inbox.put(Seen(change) if isinstance(change, Resource) else change)
        while len(inbox) or counted.doubted:
            await step.step()
            await again.step()
    return counted


def gone(made: Resource) -> Gone:
    return Gone(made.meta.uid, made.meta.namespace, made.meta.name)


def over(stage: Stage) -> list[str]:
    """The names of the jobs that are over their quota."""
    rows = stage.rows("SELECT name FROM job_definition WHERE state = 'INVALID' AND reason = 'QuotaExceeded'")
    return sorted(row["name"] for row in rows)


async def test_the_newest_jobs_over_a_quota_are_not_ready_and_say_why(stage: Stage) -> None:
    await mirror(stage, THREE, *(job(n) for n in range(5)), *(job(n, "sales") for n in range(3)))
    assert over(stage) == ["job-3", "job-4"]
    (row,) = stage.rows("SELECT * FROM job_definition WHERE name = 'job-4'")
    ready = conditions({**row, "last_run_state": None, "is_cut": False}, {}, NEW_YEAR)[0]
    assert (ready["status"], ready["reason"]) == ("False", "QuotaExceeded")
    assert ready["message"] == "namespace finance may have 3 jobs, counted from the oldest"


@pytest.mark.parametrize("seed", range(5))
async def test_who_is_over_depends_on_age_alone_whatever_comes_first(stage: Stage, seed: int) -> None:
    made = [job(n) for n in range(8)]
    shuffled = random.Random(seed).sample(made, len(made))
    for part in (shuffled[:3], shuffled[3:4], shuffled[4:]):
        await mirror(stage, THREE, *part)
    assert over(stage) == ["job-3", "job-4", "job-5", "job-6", "job-7"]


async def test_a_job_that_is_over_is_never_active_not_even_for_a_moment(stage: Stage) -> None:
    await mirror(stage, THREE, *(job(n) for n in range(6)))
    rows = stage.rows("SELECT job_id, state FROM job_definition_version")
    assert Counter(row["state"] for row in rows) == {"ACTIVE": 3, "INVALID": 3}


async def test_a_deletion_lets_the_next_one_in_and_it_counts_from_then(stage: Stage) -> None:
    made = [job(n) for n in range(5)]
    await mirror(stage, THREE, *made)
    stage.tick(minutes=5)
    await mirror(stage, THREE, gone(made[0]))
    assert over(stage) == ["job-4"]
    (row,) = stage.rows("SELECT * FROM job_definition WHERE name = 'job-3'")
    assert (row["state"], row["reason"]) == ("ACTIVE", "Scheduled")
    assert row["next_fire_at"] > await stage.now()  # nothing of the time before is made up
    skipped = stage.rows("SELECT * FROM job_execution_log WHERE job_name = 'job-3'")
    assert [(each["state"], each["reason"], each["moment_count"]) for each in skipped] == [("SKIPPED", "NotReady", 5)]
    assert "may have 3 jobs" in skipped[0]["message"]


async def test_one_that_fires_too_often_is_over_until_it_is_edited(stage: Stage) -> None:
    quotas = read_quotas({"finance": {"fires_per_second": 1}})
    await mirror(stage, quotas, job(0, fixedRate="2s"), job(1, fixedRate="1s"), job(2, fixedRate="30s"))
    assert over(stage) == ["job-1", "job-2"]
    edited = job(1, fixedRate="4s")
    meta = replace(edited.meta, generation=2, resource_version=2)
    await mirror(stage, quotas, replace(edited, meta=meta))
    assert over(stage) == []


async def test_a_quota_that_changes_is_held_from_the_next_term_on(stage: Stage) -> None:
    made = [job(n) for n in range(5)]
    await mirror(stage, Quotas(), *made)
    assert over(stage) == []
    await mirror(stage, THREE)
    assert over(stage) == ["job-3", "job-4"]
    await mirror(stage, read_quotas({"*": {"jobs": 3}, "finance": {"jobs": 4}}))
    assert over(stage) == ["job-4"]
    await mirror(stage, read_quotas({"finance": {"jobs": 2}}))
    assert over(stage) == ["job-2", "job-3", "job-4"]


async def test_what_a_quota_put_out_comes_back_when_there_is_none_any_more(stage: Stage) -> None:
    await mirror(stage, THREE, *(job(n) for n in range(5)))
    await mirror(stage, Quotas(), *(Seen(job(n), judge_again=True) for n in range(5)))  # as the step judge does
    assert over(stage) == []


async def test_no_moment_of_a_job_that_is_over_runs_and_each_has_its_row(stage: Stage) -> None:
    await mirror(stage, THREE, *(job(n) for n in range(5)))
    stage.tick(minutes=2, seconds=1)
    await stage.fire(sweep=True)
    rows = stage.rows()
    ran = {row["job_name"] for row in rows if row["state"] == "PENDING"}
    assert ran == {"job-0", "job-1", "job-2"}
    skipped = {row["job_name"]: row["moment_count"] for row in rows if row["reason"] == "NotReady"}
    assert skipped == {"job-3": 2, "job-4": 2}


@pytest.mark.parametrize(
    ("annotations", "spec"),
    [
        ({RUN_NOW: "a"}, {}),
        ({RUN_NOW: "a", RUN_NOW_PAYLOAD: '{"message": "b"}'}, {}),
        ({RUN_NOW: "a", RUN_NOW_PAYLOAD: '{"message": "b"}'}, {"payload": {"seconds": "many"}}),
    ],
    ids=["as it is", "its own payload", "in place of one that does not fit"],
)
async def test_run_now_is_no_way_around_a_quota(
    stage: Stage, annotations: dict[str, str], spec: dict[str, Any]
) -> None:
    asked = job(3, **spec)
    await mirror(stage, THREE, *(job(n) for n in range(3)), asked)
    meta = replace(asked.meta, resource_version=2, annotations=annotations)
    await mirror(stage, THREE, replace(asked, meta=meta))
    (row,) = stage.rows()
    assert (row["state"], row["reason"]) == ("SKIPPED", "NotReady")
    assert "may have 3 jobs" in row["message"]


async def test_a_pause_is_no_way_around_a_quota(stage: Stage) -> None:
    await mirror(stage, THREE, *(job(n, suspend=True) for n in range(4)))
    assert over(stage) == ["job-3"]


async def test_a_job_that_is_wrong_itself_says_so_and_takes_its_place(stage: Stage) -> None:
    await mirror(stage, THREE, *(job(n) for n in range(2)), job(2, handler="elsewhere"), job(3), job(4, handler="no"))
    rows = stage.rows("SELECT name, reason FROM job_definition ORDER BY name")
    assert {row["name"]: row["reason"] for row in rows[2:]} == {
        "job-2": "HandlerNotFound",
        "job-3": "QuotaExceeded",
        "job-4": "HandlerNotFound",
    }


async def test_a_version_is_written_only_where_the_verdict_changes(stage: Stage) -> None:
    made = [job(n) for n in range(5)]
    await mirror(stage, THREE, *made)
    before = len(stage.rows("SELECT 1 FROM job_definition_version"))
    await mirror(stage, THREE, *(Seen(each, judge_again=True) for each in made), job(5))
    assert len(stage.rows("SELECT 1 FROM job_definition_version")) == before + 1


async def test_a_doubted_job_is_judged_by_whatever_is_seen_of_it(stage: Stage) -> None:
    """What has it judged anew gives way in the inbox to a newer sight of it, which has no news of its own."""
    await mirror(stage, Quotas(), *(job(n) for n in range(4)))
    inbox, counted = Inbox(), Counted(THREE)
    async with stage.leader() as leader:
        async with leader.session() as conn:
            await counted.load(conn)
        judge = Judge(stage.handlers.__contains__, REGISTRY.check, counted.message)
        get, told, hear = stage._get, stage._on_written, stage.unheard.extend
        step = Mirror(leader, inbox, stage.specs, KEPT, judge, get, told, counted, on_unheard=hear)
        newer = job(3)
        inbox.put(Seen(replace(newer, meta=replace(newer.meta, resource_version=2))))
        inbox.put(Seen(newer, judge_again=True))
        await step.step()
    assert over(stage) == ["job-3"]


async def test_a_doubted_job_is_not_judged_by_an_event_of_the_past(stage: Stage) -> None:
    def of(version: int, every: str) -> Resource:
        made = job(3, fixedRate=every)
        return replace(made, meta=replace(made.meta, generation=version, resource_version=version))

    await mirror(stage, THREE, *(job(n) for n in range(3)), of(3, "5m"))
    assert over(stage) == ["job-3"]
    inbox, counted = Inbox(), Counted(Quotas())
    async with stage.leader() as leader:
        judge = Judge(stage.handlers.__contains__, REGISTRY.check, counted.message)
        get, told, hear = stage._get, stage._on_written, stage.unheard.extend
        step = Mirror(leader, inbox, stage.specs, KEPT, judge, get, told, counted, on_unheard=hear)
        await step.apply([Seen(of(2, "1m"))])
        (row,) = stage.rows("SELECT * FROM job_definition WHERE name = 'job-3'")
        assert (row["version"], row["spec"]["fixedRate"]) == (3, "5m")
        await step.apply([Seen(of(3, "5m"))])
    assert over(stage) == []


async def test_a_count_that_failed_halfway_begins_anew(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await mirror(stage, Quotas(), *(job(n) for n in range(5)))
    monkeypatch.setattr(quota, "PAGE", 2)
    counted, answers = Counted(THREE), [StoreUnavailable("gone"), None]

    async def second_page_fails(conn: Connection, after: UUID, *more: Any) -> list[Row]:
        if after != quota.NOBODY and answers and (error := answers.pop(0)):
            raise error
        return await load_places(conn, after, *more)

    monkeypatch.setattr(quota, "load_places", second_page_fails)
    async with connect(stage.url, "test") as conn:
        with pytest.raises(StoreUnavailable):
            await counted.load(conn)
        assert not counted.is_loaded
        await counted.load(conn)
    assert set(counted.doubted) == {job(3).meta.uid, job(4).meta.uid}
    assert [counted.message(job(n).meta.uid) is None for n in range(5)] == [True, True, True, False, False]


async def test_without_quotas_nothing_is_counted_or_read(stage: Stage) -> None:
    async with stage.leader() as leader:
        counted = Counted(read_quotas({"*": {"running": 3}}))
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute("ALTER TABLE job_definition RENAME TO elsewhere")
        async with leader.session() as read:
            await counted.load(read)
        counted.count([job(1)], [])
        await JudgeQuota(leader, counted, lambda _: None).step()
    assert counted.message(job(1).meta.uid) is None


WAITING = """
INSERT INTO job_execution_log (
    fire_time, namespace, job_name, state, trigger, handler, job_id, version, visible_at
)
SELECT now() - interval '1 minute' - make_interval(secs => n), %(namespace)s, 'job', 'PENDING', 'SCHEDULE', 'log',
    gen_random_uuid(), 1, now() - interval '1 minute'
FROM generate_series(1, 20) AS n
"""


async def test_each_namespace_runs_as_many_as_its_own_quota_says(stage: Stage) -> None:
    with psycopg.connect(stage.url, autocommit=True) as conn:
        for namespace in ("few", "many", "other", "free"):
            conn.execute(WAITING, {"namespace": namespace})
    replica, limits = await stage.replica(), {"*": 3, "few": 1, "many": 5, "free": 0}
    claimed: Counter[str] = Counter()
    for _ in range(3):
        async with connect(stage.url, "test") as conn, conn.transaction():
            await lock_claims(conn)
            rows = await claim_fairly(conn, replica, ["log"], 40, limits=limits)
        claimed += Counter(row["namespace"] for row in rows)
    assert claimed == {"few": 1, "many": 5, "other": 3, "free": 20}
