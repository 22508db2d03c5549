"""Which executions are noticed, once each, whoever leads: against a real database, its time in the test's hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from tests.integration.conftest import Stage, resource
from tests.integration.plans import rows_read, tables_read_whole
from tests.integration.test_complete import IMPATIENT, ONCE_MORE, Bench, assignment, ending, locked

from scheduledjobs.core.notices import Kind, Recipients, read_rules, read_webhooks
from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.core.spec import Retry
from scheduledjobs.errors import StoreBusy, StoreError, StoreUnavailable, TermLost
from scheduledjobs.handlers.assignment import Assignment
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.notice import Notice
from scheduledjobs.steps.prune import Prune
from scheduledjobs.store.executions import cancel_execution, return_abandoned
from scheduledjobs.store.instances import bury_instances
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.notices import (
    count_notices,
    find_noticeable,
    fold_notices,
    insert_awaited,
    load_notices,
    look_at_notices,
    seal_notices,
    settle_message,
)
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Connection, Sessions, connect

EVERYTHING = {"webhook": "ops", "on": ["failure", "recovery", "miss", "longRun"], "longRun": "1h"}
AWAITED = "SELECT awaited FROM notice_cursor"
KINDS = "SELECT kind, job_name, reason, moment_count FROM notice ORDER BY noticed_at, execution_id, kind"


def recipients(*rules: dict[str, Any]) -> Recipients:
    hook = {"url": "http://127.0.0.1:1/", "format": "slack"}
    webhooks = read_webhooks({"ops": {**hook, "namespaces": ["*"]}, "team": {**hook, "namespaces": ["default"]}})
    return Recipients(webhooks, read_rules(list(rules or [EVERYTHING]), webhooks))


class Watched:
    """What one leader notices. The stage takes a term for each step, so each look is made in the newest one."""

    def __init__(self, stage: Stage, to: Recipients) -> None:
        self.stage = stage
        self.now = 1000.0
        self.told: list[str] = []
        self.trusted = True
        self.refused: frozenset[str] = frozenset()
        """What the database refuses: reads, writes."""
        self.leader: Leader | None = None
        self.notice = Notice(self, to, self.told.append, lambda: self.now)  # type: ignore[arg-type]

    def is_trusted(self) -> bool:
        return self.trusted

    def session(self) -> Any:
        assert self.leader is not None
        if "reads" in self.refused:
            raise StoreUnavailable("the database is away")
        return self.leader.session()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        assert self.leader is not None
        async with self.leader.write() as conn:
            if "writes" in self.refused:
                await conn.execute("SET TRANSACTION READ ONLY")
            yield conn

    async def look(self, seconds: float = 5.0, times: int = 1) -> None:
        """Look after so many seconds, of the leader's and of the database's; after five a look is a wide one."""
        for _ in range(times):
            self.now += seconds
            self.stage.tick(seconds=seconds)
            async with self.stage.leader() as self.leader:
                while await self.notice.step() == 0.0:
                    pass


async def watching(stage: Stage, *rules: dict[str, Any]) -> Watched:
    """A new leader, after its first look."""
    watched = Watched(stage, recipients(*rules))
    await watched.look(0)
    return watched


async def run(stage: Stage, *states: str, **changes: Any) -> None:
    """Run a job of every second to these ends, one moment after the other."""
    replica = await stage.replica()
    for state in states:
        stage.tick(seconds=1)
        await stage.fire()
        claims = await stage.claim(replica)
        assert claims
        for claimed in claims:  # two, where a second ends while it is fired
            await stage.complete(replica, claimed, state, **changes)


async def begin(stage: Stage) -> tuple[UUID, dict[str, Any]]:
    """Let a job of every second begin a run; return who runs it, and the claim."""
    replica = await stage.replica()
    stage.tick(seconds=1)
    await stage.fire()
    (claimed,) = await stage.claim(replica)
    return replica, claimed


async def job(stage: Stage, **changes: Any) -> None:
    await stage.mirror(resource(fixedRate="1s", **changes))
    stage.tick(seconds=0.5)


def kinds(stage: Stage) -> list[tuple[str, str | None]]:
    return [(row["kind"], row["reason"]) for row in stage.rows(KINDS)]


def count(stage: Stage) -> int:
    found: int = stage.rows("SELECT count(*) AS n FROM notice")[0]["n"]
    return found


@pytest.mark.parametrize("state", ["FAILED", "TIMED_OUT", "LOST"])
async def test_a_failure_is_noticed_once(stage: Stage, state: str) -> None:
    await job(stage)
    watched = await watching(stage)
    await run(stage, state)
    await watched.look(1, times=7)
    (row,) = stage.rows("SELECT * FROM notice")
    assert (row["kind"], row["webhook"], row["job_name"], row["state"]) == ("failure", "ops", "job", state)
    assert watched.told == ["ops"]


async def test_a_failure_that_another_attempt_follows_is_not_noticed(stage: Stage) -> None:
    await job(stage, retry={"limit": 1})
    watched = await watching(stage)
    await run(stage, "FAILED", retry_seconds=60)
    await watched.look()
    assert count(stage) == 0
    stage.tick(seconds=61)
    replica = await stage.replica()
    (again,) = await stage.claim(replica)
    await stage.complete(replica, again, "FAILED")
    await watched.look()
    assert [row["attempt"] for row in stage.rows("SELECT attempt FROM notice WHERE kind = 'failure'")] == [2]


@pytest.mark.parametrize(("limit", "noticed"), [(0, 1), (1, 0)])
async def test_a_timeout_whose_code_still_runs_is_noticed_only_if_no_attempt_follows(
    stage: Stage, limit: int, noticed: int
) -> None:
    await job(stage, retry={"limit": limit})
    watched = await watching(stage)
    await run(stage, "TIMED_OUT")
    stage.rows("UPDATE job_execution_log SET abandoned = true RETURNING id")
    await watched.look()
    assert count(stage) == noticed


@pytest.mark.parametrize(("cancelled", "returned"), [(True, False), (True, True), (False, True)])
async def test_a_timeout_is_noticed_once_it_is_known_that_no_attempt_follows(
    stage: Stage, *, cancelled: bool, returned: bool
) -> None:
    await job(stage, retry={"limit": 1}, concurrencyPolicy="Allow")
    watched = await watching(stage)
    replica = await hung(stage)
    await watched.look()
    stage.tick(hours=1)
    await watched.look(times=3)
    assert [kind for kind, _ in kinds(stage)] == ["longRun"]
    (row,) = stage.rows()
    assert stage.rows(AWAITED)[0]["awaited"].keys() == {str(row["id"])}
    if cancelled:
        async with connect(stage.url, "test", **stage.clock_setting) as conn:
            await cancel_execution(conn, row["id"], "ana")
    if returned:  # not cancelled, it has no retry any more: its job is gone, or another replica knows of none
        await come_back(stage, replica, 1.0 if cancelled else None)
    watched = await watching(stage)  # whoever leads by then
    await watched.look(times=2)
    assert [kind for kind, _ in kinds(stage)] == ["longRun", "failure"]
    assert (watched.told, stage.rows(AWAITED)) == (["ops"], [{"awaited": {}}])
    await run(stage, "SUCCEEDED")
    await watched.look()
    assert [kind for kind, _ in kinds(stage)] == ["longRun", "failure", "recovery"]


async def test_a_timeout_that_is_tried_again_is_noticed_if_that_fails_too(stage: Stage) -> None:
    await job(stage, retry={"limit": 1})
    watched = await watching(stage)
    replica = await hung(stage)
    await watched.look(times=2)
    (row,) = stage.rows()
    assert stage.rows(AWAITED)[0]["awaited"].keys() == {str(row["id"])}
    await come_back(stage, replica, 1.0)
    await watched.look()
    assert (count(stage), stage.rows(AWAITED)) == (0, [{"awaited": {}}])
    (again,) = await stage.claim(replica)
    await stage.complete(replica, again, "FAILED")
    await watched.look(times=2)
    assert [row["attempt"] for row in stage.rows("SELECT attempt FROM notice")] == [2]


async def hung(stage: Stage) -> UUID:
    """Have a run time out whose code does not return; return its replica."""
    replica, claimed = await begin(stage)
    await stage.complete(replica, claimed, "TIMED_OUT")
    stage.rows("UPDATE job_execution_log SET abandoned = true WHERE state = 'TIMED_OUT' RETURNING id")
    return replica


async def come_back(stage: Stage, replica: UUID, retry_seconds: float | None) -> None:
    """Have the code of the one run that hung return; `retry_seconds`: it is tried again so much later."""
    (row,) = stage.rows()
    key = {name: row[name] for name in ("id", "fire_time", "claim_no", "job_id")}
    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        await return_abandoned(conn, replica, [{**key, "retry_seconds": retry_seconds}])


async def test_only_the_first_success_after_failures_is_a_recovery(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage)
    for state in ("SUCCEEDED", "FAILED", "FAILED", "SUCCEEDED", "SUCCEEDED", "FAILED", "SUCCEEDED"):
        await run(stage, state)
        await watched.look()
    assert [kind for kind, _ in kinds(stage)] == ["failure", "failure", "recovery", "failure", "recovery"]


async def test_a_failure_and_its_recovery_between_two_looks_are_both_noticed(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage)
    await run(stage, "FAILED", "SUCCEEDED", "SUCCEEDED")
    await watched.look(1)
    recovered = stage.rows("SELECT fire_time FROM notice WHERE kind = 'recovery'")
    assert [row["fire_time"] for row in recovered] == [
        min(row["fire_time"] for row in stage.rows() if row["state"] == "SUCCEEDED")
    ]
    assert [kind for kind, _ in kinds(stage)] == ["failure", "recovery"]


async def test_who_wants_recoveries_only_is_told_of_them(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage, {"webhook": "ops", "on": ["recovery"]})
    for state in ("FAILED", "SUCCEEDED"):
        await run(stage, state)
        await watched.look()
    assert [kind for kind, _ in kinds(stage)] == ["recovery"]


@pytest.mark.parametrize(
    ("policy", "expected"), [("Skip", [("miss", "TooLate")]), ("FireAll", [("miss", "OverLimit")]), ("FireOnce", [])]
)
async def test_moments_that_will_never_run_are_a_miss_but_not_those_that_another_run_stands_for(
    stage: Stage, policy: str, expected: list[tuple[str, str]]
) -> None:
    await stage.mirror(resource(fixedRate="1s", misfire={"policy": policy, "limit": 1}))
    watched = await watching(stage)
    stage.tick(minutes=10)
    await stage.fire()
    await watched.look()
    assert set(kinds(stage)) == set(expected)


async def test_what_waited_past_its_deadline_is_a_miss(stage: Stage) -> None:
    await job(stage, startingDeadline="30s")
    watched = await watching(stage)
    stage.tick(seconds=1)
    await stage.fire()
    stage.tick(seconds=31)
    await stage.release()
    await watched.look()
    assert ("miss", "StartingDeadlineExceeded") in kinds(stage)


async def test_a_run_that_takes_long_is_noticed_once_while_it_runs(stage: Stage) -> None:
    await job(stage)
    await begin(stage)
    watched = await watching(stage)
    stage.tick(minutes=59)
    await watched.look()
    assert count(stage) == 0
    stage.tick(minutes=2)
    await watched.look()
    await watched.look()
    assert [row["kind"] for row in stage.rows("SELECT kind FROM notice")] == ["longRun"]


@pytest.mark.parametrize(("limit", "returned"), [(0, False), (1, False), (0, True)])
async def test_code_that_runs_on_past_its_timeout_is_noticed_as_a_long_run_until_it_returns(
    stage: Stage, limit: int, *, returned: bool
) -> None:
    await job(stage, retry={"limit": limit})
    watched = await watching(stage, {"webhook": "ops", "on": ["longRun"], "longRun": "1h"})
    replica = await hung(stage)
    await watched.look()
    assert count(stage) == 0
    if returned:
        await come_back(stage, replica, None)
    stage.tick(hours=1)
    await watched.look(times=2)
    told = [(row["kind"], row["state"]) for row in stage.rows("SELECT kind, state FROM notice")]
    assert told == ([] if returned else [("longRun", "TIMED_OUT")])


async def start(stage: Stage, jobs: int = 1) -> None:
    """Let so many jobs run an attempt that does not end."""
    for number in range(jobs):
        await stage.mirror(resource(f"job-{number}", fixedRate="1s"))
    replica = await stage.replica()
    stage.tick(seconds=1.5)
    await stage.fire()
    assert len(await stage.claim(replica, jobs)) == jobs


TWO_TIMES = (
    {"webhook": "team", "on": ["longRun"], "longRun": "10m"},
    {"webhook": "ops", "on": ["longRun"], "longRun": "1h"},
)
TOLD = "SELECT webhook, count(*) AS n FROM notice WHERE kind = 'longRun' GROUP BY webhook ORDER BY webhook"


async def test_each_webhook_is_told_of_a_long_run_at_its_own_time(stage: Stage) -> None:
    await start(stage)
    watched = await watching(stage, *TWO_TIMES)
    stage.tick(minutes=11)
    await watched.look()
    assert [row["webhook"] for row in stage.rows(TOLD)] == ["team"]
    stage.tick(minutes=60)
    await watched.look()
    assert [row["webhook"] for row in stage.rows(TOLD)] == ["ops", "team"]


async def test_long_runs_that_are_noticed_take_no_place_of_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.steps.notice.PAGE", 2)
    await start(stage, jobs=5)
    watched = await watching(stage, *TWO_TIMES)
    stage.tick(minutes=11)
    await watched.look()
    assert [(row["webhook"], row["n"]) for row in stage.rows(TOLD)] == [("team", 5)]
    stage.tick(minutes=60)
    await watched.look()
    assert [(row["webhook"], row["n"]) for row in stage.rows(TOLD)] == [("ops", 5), ("team", 5)]


async def test_a_job_names_a_shorter_time_and_a_webhook_of_its_own(stage: Stage) -> None:
    asked = {"scheduledjobs.dev/notify": "team", "scheduledjobs.dev/notify-long-run": "1m"}
    await job(stage, annotations=asked)
    await begin(stage)
    watched = await watching(stage)
    stage.tick(minutes=2)
    await watched.look()
    assert [(row["kind"], row["webhook"]) for row in stage.rows("SELECT * FROM notice")] == [("longRun", "team")]


async def test_nothing_is_told_of_what_ended_before_there_was_a_webhook(stage: Stage) -> None:
    await job(stage)
    await run(stage, "FAILED")
    stage.tick(seconds=60)
    watched = await watching(stage)
    await watched.look()
    await watched.look()
    assert count(stage) == 0


async def test_the_next_leader_goes_on_where_the_last_one_came_to(stage: Stage) -> None:
    await job(stage)
    await watching(stage)
    await run(stage, "FAILED")  # and this leader never looks again
    stage.tick(hours=3)
    await run(stage, "FAILED")
    watched = await watching(stage)
    await watched.look()
    watched = await watching(stage)
    await watched.look()
    assert [kind for kind, _ in kinds(stage)] == ["failure", "failure"]


async def test_a_completion_that_is_written_late_is_noticed(stage: Stage) -> None:
    await job(stage)
    replica, claimed = await begin(stage)
    ended = await stage.now()
    watched = await watching(stage)
    await watched.look(4, times=5)
    await stage.complete(replica, claimed, "FAILED")
    stage.rows(f"UPDATE job_execution_log SET finished_at = '{ended.isoformat()}' WHERE state = 'FAILED' RETURNING id")
    await watched.look(1, times=5)
    assert [kind for kind, _ in kinds(stage)] == ["failure"]


async def test_an_outage_of_the_api_server_is_read_once_when_it_is_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job(stage)
    replica, claimed = await begin(stage)
    watched = await watching(stage)
    await watched.look()
    began, spans = await stage.now(), []

    async def find(conn: Connection, since: datetime, *more: Any) -> list[Row]:
        spans.append(await stage.now() - since)
        return await find_noticeable(conn, since, *more)

    monkeypatch.setattr("scheduledjobs.steps.notice.find_noticeable", find)
    watched.trusted = False
    await watched.look(10, times=12)
    assert max(spans) < timedelta(seconds=15)
    await stage.complete(replica, claimed, "FAILED")
    stage.rows(f"UPDATE job_execution_log SET finished_at = '{began.isoformat()}' WHERE state = 'FAILED' RETURNING id")
    watched.trusted = True
    await watched.look()
    assert max(spans) > timedelta(seconds=120)
    assert [kind for kind, _ in kinds(stage)] == ["failure"]


@pytest.mark.parametrize("refused", [{"writes"}, {"reads", "writes"}], ids=["writes", "everything"])
async def test_a_completion_is_noticed_that_is_written_after_an_outage_of_the_database(
    stage: Stage, refused: set[str]
) -> None:
    await job(stage)
    replica, claimed = await begin(stage)
    watched = await watching(stage)
    await watched.look(4, times=10)
    ended = await stage.now()  # its replica was cut off a little earlier than the leader
    await watched.look(1, times=4)
    watched.refused = frozenset(refused)
    for _ in range(60):
        with suppress(StoreError):
            await watched.look(1)
    watched.refused = frozenset()
    await watched.look(1, times=12)
    await stage.complete(replica, claimed, "FAILED")
    stage.rows(f"UPDATE job_execution_log SET finished_at = '{ended.isoformat()}' WHERE state = 'FAILED' RETURNING id")
    await watched.look(1, times=6)
    assert [kind for kind, _ in kinds(stage)] == ["failure"]
    await run(stage, "SUCCEEDED")
    await watched.look(1, times=40)
    assert [kind for kind, _ in kinds(stage)] == ["failure", "recovery"]
    (cursor,) = stage.rows("SELECT since FROM notice_cursor")
    assert await stage.now() - cursor["since"] < timedelta(seconds=40), "it goes on once there is no outage"


async def test_while_the_cursor_is_locked_failures_are_told_and_few_looks_go_far_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job(stage)
    watched = await watching(stage)
    await watched.look(times=8)
    spans = []

    async def find(conn: Connection, since: datetime, *more: Any) -> list[Row]:
        spans.append(await stage.now() - since)
        return await find_noticeable(conn, since, *more)

    async def refuse(*_: Any) -> int:
        raise StoreBusy("somebody else has locked it")

    monkeypatch.setattr("scheduledjobs.steps.notice.find_noticeable", find)
    monkeypatch.setattr("scheduledjobs.steps.notice.write_notice_cursor", refuse)
    await run(stage, "FAILED")
    for _ in range(20):
        with suppress(StoreBusy):
            await watched.look(1)
    assert [kind for kind, _ in kinds(stage)] == ["failure"]
    assert 3 <= sum(span > timedelta(seconds=20) for span in spans) <= 5


@asynccontextmanager
async def writing(stage: Stage, retry: Retry) -> AsyncIterator[tuple[Bench, Assignment]]:
    """Whoever writes how an attempt ended that has been claimed, a second ago."""
    replica = await stage.replica()
    stage.tick(seconds=1)
    await stage.fire()
    claimed, *_ = await stage.claim(replica)
    stage.tick(seconds=1)
    async with Sessions(stage.url, "test", size=1, **IMPATIENT, **stage.clock_setting) as sessions:
        bench = Bench(sessions)
        bench.complete.replica = replica
        yield bench, assignment(claimed, replica, retry)


@pytest.mark.parametrize("abandoned", [False, True])
async def test_a_failure_is_noticed_that_a_lock_kept_from_being_written(stage: Stage, *, abandoned: bool) -> None:
    await job(stage, concurrencyPolicy="Allow")
    watched = await watching(stage)
    async with writing(stage, Retry()) as (bench, of):
        state, reason = State.TIMED_OUT if abandoned else State.FAILED, Reason.ERROR
        with locked(stage, of):
            bench.complete.add([ending(of, state, reason=reason, abandoned=abandoned)])
            await bench.write()
            await watched.look(times=12)
            bench.now += 60
        await bench.write()
    assert state in [row["state"] for row in stage.rows()]
    await watched.look(times=3)
    assert (kinds(stage), watched.told) == ([("failure", "Error")], ["ops"])
    assert stage.rows(AWAITED) == [{"awaited": {}}]
    await run(stage, "SUCCEEDED")
    await watched.look()
    assert [kind for kind, _ in kinds(stage)] == ["failure", "recovery"]


@pytest.mark.parametrize(
    ("state", "retry", "seconds", "awaited"),
    [
        (State.FAILED, Retry(), 5, 0),
        (State.FAILED, Retry(), 20, 1),
        (State.FAILED, ONCE_MORE, 20, 0),
        (State.SUCCEEDED, Retry(), 20, 0),
    ],
    ids=["at once", "late", "retried", "succeeded"],
)
async def test_only_a_failure_that_is_written_late_is_told_the_leader_by_its_replica(
    stage: Stage, state: State, retry: Retry, seconds: float, awaited: int
) -> None:
    await job(stage)
    await watching(stage)
    async with writing(stage, retry) as (bench, of):
        bench.complete.add([ending(of, state, reason=Reason.ERROR)])
        bench.now += seconds
        await bench.write()
    assert [len(row["awaited"]) for row in stage.rows(AWAITED)] == [awaited]


async def test_a_late_failure_is_written_where_nobody_is_told_of_any(stage: Stage) -> None:
    await job(stage)
    async with writing(stage, Retry()) as (bench, of):
        bench.complete.add([ending(of, State.FAILED, reason=Reason.ERROR)])
        bench.now += 60
        await bench.write()
    assert "FAILED" in [row["state"] for row in stage.rows()]
    assert stage.rows(AWAITED) == []


async def test_what_was_written_late_is_noticed_so_many_at_a_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await job(stage)
    await fail_many(stage, 5)
    stage.tick(minutes=10)
    watched = await watching(stage)
    monkeypatch.setattr("scheduledjobs.steps.notice.PAGE", 2)
    async with connect(stage.url, "test") as conn:
        await insert_awaited(conn, {row["id"]: row["fire_time"] for row in stage.rows()})
    told = []
    for _ in range(4):
        await watched.look()
        told.append(count(stage))
    assert told == [2, 4, 5, 5]


async def test_a_completion_is_noticed_that_was_written_after_the_leader_of_its_end_was_gone(stage: Stage) -> None:
    await job(stage)
    replica, claimed = await begin(stage)
    ended = await stage.now()
    watched = await watching(stage)
    await watched.look(4, times=5)
    stage.tick(hours=1)  # nobody leads
    await stage.complete(replica, claimed, "FAILED")
    stage.rows(f"UPDATE job_execution_log SET finished_at = '{ended.isoformat()}' WHERE state = 'FAILED' RETURNING id")
    watched = await watching(stage)
    await watched.look()
    assert [kind for kind, _ in kinds(stage)] == ["failure"]


async def test_what_a_dead_replica_ran_is_noticed(stage: Stage) -> None:
    await job(stage)
    await stage.replica()
    await begin(stage)
    watched = await watching(stage)
    async with connect(stage.url, "test") as conn:
        await bury_instances(conn, stage.rows("SELECT id, heartbeat_at FROM scheduler_instance"))
    await stage.rescue()
    await watched.look()
    assert kinds(stage) == [("failure", "ReplicaDied")]


async def test_a_leader_of_an_older_term_notices_nothing(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage)
    async with stage.leader() as watched.leader:
        await run(stage, "FAILED")  # in newer terms
        with pytest.raises(TermLost):
            await watched.notice.step()
    assert count(stage) == 0


FAILURES = """
INSERT INTO job_execution_log
    (fire_time, namespace, job_name, state, trigger, handler, job_id, version, finished_at, attempt)
SELECT t.at - make_interval(secs => n / 1000.0), 'default', 'job', 'FAILED', 'SCHEDULE', 'log', %(job)s, 1, t.at, 1
FROM (SELECT scheduler_now() AS at) AS t, generate_series(1, %(count)s) AS n
"""


async def fail_many(stage: Stage, number: int) -> None:
    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        await conn.execute(FAILURES.encode(), {"job": stage.job()["id"], "count": number})


async def test_as_many_as_there_are_are_noticed_whatever_a_page_holds(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.steps.notice.PAGE", 10)
    monkeypatch.setattr("scheduledjobs.steps.notice.MOST_PAGES", 3)
    await job(stage)
    watched = await watching(stage)
    await fail_many(stage, 25)
    stage.tick(seconds=1)
    await watched.look()
    assert count(stage) == 25
    for _ in range(4):
        await fail_many(stage, 9)
        stage.tick(seconds=1)
    await watched.look()
    assert count(stage) == 25 + 36


async def storm(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A hundred failures, which nobody has looked at, where no more than twenty are listed."""
    monkeypatch.setattr("scheduledjobs.steps.notice.MOST_WAITING", 20)
    await job(stage)
    watched = await watching(stage)
    await fail_many(stage, 100)
    return watched


async def test_more_than_can_be_listed_are_counted_only(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = await storm(stage, monkeypatch)
    await watched.look()
    folded = stage.rows("SELECT folded, count(*) AS n FROM notice GROUP BY folded ORDER BY folded")
    assert [(row["folded"], row["n"]) for row in folded] == [(False, 20), (True, 80)]


async def prune(stage: Stage, *webhooks: str) -> None:
    async with Sessions(stage.url, "test", size=1, **stage.clock_setting) as sessions:
        await Prune(sessions, Clock(), 30, webhooks).prune(datetime.now(UTC) + stage.offset)


async def deliver(stage: Stage) -> None:
    """Put what waits into a message and say that it arrived."""
    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        name = uuid4().hex
        await seal_notices(conn, "ops", name, 5000)
        await settle_message(conn, name, "SENT", None)


async def test_what_was_told_is_forgotten_after_a_while_and_not_noticed_again(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage)
    await run(stage, "FAILED", "SUCCEEDED")
    await watched.look()
    await watched.look()
    await deliver(stage)
    await prune(stage, "ops")
    assert count(stage) == 2
    stage.tick(hours=26)
    await prune(stage, "ops")
    assert count(stage) == 2, "the next leader may read these rows again"
    watched = await watching(stage)
    await watched.look(times=8)
    stage.tick(minutes=2)
    await prune(stage, "ops")
    left = "SELECT (SELECT count(*) FROM notice) + (SELECT count(*) FROM notice_message) AS n"
    assert stage.rows(left)[0]["n"] == stage.rows("SELECT count(*) AS n FROM notice_failing")[0]["n"]  # 0, and the job
    watched = await watching(stage)
    await watched.look()
    assert count(stage) == 0


async def test_when_the_last_message_went_is_known_for_as_long_as_the_next_may_have_to_wait(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage)
    await run(stage, "FAILED")
    await watched.look(times=2)
    await deliver(stage)
    stage.tick(hours=24)  # the longest `every`
    await watched.look(times=10)
    await prune(stage, "ops")
    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        found = await look_at_notices(conn, "ops")
    assert found["since_last_seconds"] == pytest.approx(24 * 3600, abs=120)


async def test_what_was_only_counted_is_forgotten_an_hour_after_its_message(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = await storm(stage, monkeypatch)
    await watched.look(times=2)
    await deliver(stage)
    stage.tick(hours=2)
    await watched.look(times=10)
    await prune(stage, "ops")
    assert stage.rows("SELECT folded, count(*) AS n FROM notice GROUP BY folded") == [{"folded": False, "n": 20}]


async def test_what_waits_is_not_forgotten_however_old_it_is(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage)
    await run(stage, "FAILED")
    await watched.look()
    stage.tick(days=3)
    await watched.look(times=8)
    await prune(stage, "ops")
    assert count(stage) == 1


async def test_what_is_for_a_webhook_that_is_gone_is_forgotten(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage)
    await run(stage, "FAILED")
    await watched.look()
    await prune(stage, "team")
    assert count(stage) == 0
    assert len(stage.rows("SELECT since FROM notice_cursor")) == 1


async def test_without_a_webhook_nothing_is_kept_so_that_a_later_one_is_not_told_the_past(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage)
    await run(stage, "FAILED")
    await watched.look()
    await prune(stage)
    assert [stage.rows(f"SELECT * FROM {table}") for table in ("notice", "notice_cursor", "notice_failing")] == [[]] * 3


async def test_what_waits_for_a_webhook_that_takes_nothing_grows_with_the_jobs_and_not_with_the_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.steps.notice.MOST_WAITING", 20)
    await job(stage)
    watched = await watching(stage)
    for hour in range(3):
        await fail_many(stage, 100)
        await watched.look(times=2)
        stage.tick(hours=2)
        await watched.look(times=8)
        await prune(stage, "ops")
        assert count(stage) == 21
        async with connect(stage.url, "test", **stage.clock_setting) as conn, conn.transaction(force_rollback=True):
            await seal_notices(conn, "ops", "message", 5000)
            counts = await count_notices(conn, "message")
            assert len(await load_notices(conn, "message")) == 20
        assert counts == {(Kind.FAILURE, "default"): ((hour + 1) * 100, 1)}
    watched = await watching(stage)
    await watched.look(times=2)
    assert count(stage) == 21, "what is deleted is not noticed again"


async def test_what_may_be_read_again_keeps_its_rows_though_it_is_only_counted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = await storm(stage, monkeypatch)
    await watched.look(times=2)
    stage.tick(hours=2)
    await prune(stage, "ops")
    assert count(stage) == 100
    watched = await watching(stage)  # begins where the last one came to
    await watched.look()
    assert count(stage) == 100


async def test_folding_leaves_the_newest(stage: Stage) -> None:
    await job(stage)
    watched = await watching(stage)
    await run(stage, "FAILED", "FAILED", "FAILED")
    await watched.look()
    async with connect(stage.url, "test") as conn:
        assert await fold_notices(conn, "ops", 1) == 2
        assert await fold_notices(conn, "ops", 1) == 0
    (newest,) = stage.rows("SELECT fire_time FROM notice WHERE NOT folded")
    assert newest["fire_time"] == max(row["fire_time"] for row in stage.rows() if row["state"] == "FAILED")


async def test_a_look_reads_the_newest_pages_and_no_table_whole(stage: Stage) -> None:
    stage.tick(hours=(12 - (await stage.now()).hour) % 24)  # all on one day: a few rows of another one are read whole
    await job(stage)
    fill = """
    INSERT INTO job_execution_log
        (fire_time, namespace, job_name, state, trigger, handler, job_id, version, finished_at)
    SELECT at, 'default', 'job', 'SUCCEEDED', 'SCHEDULE', 'log', gen_random_uuid(), 1, at
    FROM (SELECT scheduler_now() - n * interval '100 ms' FROM generate_series(60000, 1, -1) AS n) AS t (at)
    """
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(fill.encode())
        conn.execute(
            "SELECT brin_summarize_new_values(indexrelid) FROM pg_stat_user_indexes"
            " WHERE indexrelname LIKE '%finished%'"
        )
        conn.execute("ANALYZE")
    params = {"since": await stage.now() - timedelta(seconds=3), "most": 2000}
    params |= {"after_at": datetime(1, 1, 1, tzinfo=UTC), "after_id": 0}
    async with connect(stage.url, "test") as conn:
        assert await tables_read_whole(conn, "find_noticeable", **params) <= {"notice_failing"}
        params["since"] -= timedelta(hours=2)  # all, and the last page of it
        params["after_at"] = await stage.now() - timedelta(seconds=3)
        assert (await rows_read(conn, "find_noticeable", **params))["job_execution_log"] < 20_000
