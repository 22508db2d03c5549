"""Attempts whose work survives their replica, in the log: handed over, claimed again, not ended behind its back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.conftest import Stage, resource
from tests.unit.assigned import assigned

from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.handlers.assignment import Assignment, Ending
from scheduledjobs.handlers.execution import Output
from scheduledjobs.steps.claim import Claim
from scheduledjobs.steps.complete import Complete
from scheduledjobs.steps.inbox import Gone
from scheduledjobs.store.executions import (
    cancel_execution,
    claim_executions,
    claim_fairly,
    end_waiting,
    hand_back_executions,
    hand_over_executions,
    write_notes,
)
from scheduledjobs.store.sessions import Sessions, connect

SURVIVING = frozenset({"log"})


async def running(stage: Stage, **spec: Any) -> dict[str, Any]:
    """An execution that runs under a replica that is not alive."""
    await stage.mirror(resource(**{"fixedRate": "1h", **spec}))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    (claimed,) = await stage.claim(uuid4())
    return claimed


def the(stage: Stage, *names: str) -> tuple[Any, ...]:
    (row,) = stage.rows()
    return tuple(row[name] for name in names)


async def test_what_survives_a_dead_replica_waits_for_the_next_and_is_the_same_attempt(stage: Stage) -> None:
    claimed = await running(stage)
    stage.tick(seconds=30)
    await stage.rescue(SURVIVING)
    assert the(stage, "state", "reason", "attempt", "claimed_by") == ("PENDING", "HandedOver", 0, None)
    replica = await stage.replica()
    (again,) = await stage.claim(replica)
    assert (again["attempt"], again["claim_no"]) == (1, 2)
    assert again["started_at"] == claimed["claimed_at"]  # it began when it began
    assert again["reason"] == "HandedOver"
    (row,) = stage.rows()
    assert row["lateness_ms"] < 5000
    assert await stage.complete(replica, again) == {again["id"]: "SUCCEEDED"}
    assert stage.rows("SELECT * FROM job_execution_attempt") == []


async def test_the_completion_of_who_was_taken_for_dead_is_stale(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h"))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    frozen = uuid4()
    (stale,) = await stage.claim(frozen)
    await stage.rescue(SURVIVING)
    assert await stage.complete(frozen, stale) == {}
    (fresh,) = await stage.claim(await stage.replica())
    assert await stage.complete(frozen, stale) == {}
    assert fresh["claim_no"] == 2


async def test_work_that_does_not_survive_is_lost_beside_it(stage: Stage) -> None:
    await running(stage)
    await stage.rescue(frozenset({"another"}))
    assert the(stage, "state", "reason") == ("LOST", "ReplicaDied")


async def test_no_starting_deadline_ends_what_was_handed_over(stage: Stage) -> None:
    await running(stage, startingDeadline="1m")
    await stage.rescue(SURVIVING)
    stage.tick(minutes=30)
    await stage.release()
    assert the(stage, "state") == ("PENDING",)


async def test_what_no_replica_goes_on_with_is_lost_after_the_longest_timeout(stage: Stage) -> None:
    await running(stage)
    await stage.rescue(SURVIVING)
    stage.tick(days=7, hours=1)  # the longest timeout is 168 h
    await stage.release()
    assert the(stage, "state") == ("PENDING",)
    stage.tick(days=1)
    await stage.release()
    assert the(stage, "state", "reason", "message") == ("LOST", "ReplicaDied", "no replica went on with it")
    (row,) = stage.rows()
    assert timedelta(milliseconds=row["duration_ms"]) == row["finished_at"] - row["started_at"]


@pytest.mark.parametrize("policy", ["Forbid", "Queue", "Replace"])
async def test_what_was_handed_over_counts_as_running_for_the_next_moment(stage: Stage, policy: str) -> None:
    await running(stage, concurrencyPolicy=policy)
    await stage.rescue(SURVIVING)
    stage.tick(hours=1)
    await stage.fire()
    await stage.release()
    first, second = stage.rows()
    assert (first["state"], first["reason"]) == ("PENDING", "HandedOver")
    assert first["cancel_reason"] == ("Replaced" if policy == "Replace" else None)
    expected = {"Forbid": ("SKIPPED", "Overlap"), "Queue": ("PENDING", "Queued"), "Replace": ("PENDING", "Replacing")}
    assert (second["state"], second["reason"]) == expected[policy]
    (claimed,) = await stage.claim(await stage.replica())
    assert claimed["id"] == first["id"]


async def test_a_retry_that_was_handed_over_does_not_count_as_waiting_for_its_backoff(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h"))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    await stage.complete(replica, claimed, "FAILED", retry_seconds=5)
    stage.tick(seconds=6)
    (again,) = await stage.claim(replica)
    async with connect(stage.url, "test") as conn:
        assert await hand_over_executions(conn, replica, [again]) == {again["id"]}
    stage.offset -= timedelta(seconds=4)  # the clock was set back: what is visible no longer looks so
    assert the(stage, "attempt", "reason") == (1, "HandedOver")
    await stage.mirror(resource("other", fixedRate="1h"))
    rows = await live(stage, claimed["job_id"])
    assert [row["is_backing_off"] for row in rows] == [False]


async def live(stage: Stage, job_id: UUID) -> list[dict[str, Any]]:
    from scheduledjobs.store.executions import find_live_executions

    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        return await find_live_executions(conn, [job_id])


async def test_a_cancel_is_kept_for_who_goes_on(stage: Stage) -> None:
    claimed = await running(stage)
    await stage.rescue(SURVIVING)
    async with connect(stage.url, "test") as conn:
        found = await cancel_execution(conn, claimed["id"], "somebody")
    assert found is not None
    assert found["state"] == "PENDING"  # its work goes on: it is not ended before that is
    (again,) = await stage.claim(await stage.replica())
    assert (again["cancel_reason"], again["cancel_requested_by"]) == ("CancelRequested", "somebody")


async def test_a_delete_of_its_job_does_not_end_what_was_handed_over(stage: Stage) -> None:
    made = resource(fixedRate="1h")
    await stage.mirror(made)
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    await stage.claim(uuid4())
    await stage.rescue(SURVIVING)
    await stage.mirror(Gone(made.meta.uid, made.meta.namespace, made.meta.name))
    await stage.release()
    assert the(stage, "state", "reason") == ("PENDING", "HandedOver")


async def test_a_claim_of_it_that_is_given_back_unstarted_leaves_it_handed_over(stage: Stage) -> None:
    first = await running(stage)
    await stage.rescue(SURVIVING)
    replica = await stage.replica()
    (again,) = await stage.claim(replica)
    async with connect(stage.url, "test") as conn:
        await hand_back_executions(conn, replica, [again])
    assert the(stage, "reason", "attempt", "started_at") == ("HandedOver", 0, first["started_at"])
    (third,) = await stage.claim(replica)
    assert (third["attempt"], third["claim_no"], third["started_at"]) == (1, 3, first["started_at"])


async def test_a_note_is_in_the_row_while_it_runs_and_for_who_goes_on(stage: Stage) -> None:
    claimed = await running(stage)
    owner = stage.rows()[0]["claimed_by"]
    async with connect(stage.url, "test") as conn:
        assert await write_notes(conn, uuid4(), [{**claimed, "note": {"job": "x"}}]) == set()
        assert await write_notes(conn, owner, [guard(claimed, claim_no=7)]) == set()
        assert await write_notes(conn, owner, [guard(claimed)]) == {claimed["id"]}
    await stage.rescue(SURVIVING)
    replica = await stage.replica()
    (again,) = await stage.claim(replica)
    assert again["result"] == {"job": "x"}
    await stage.complete(replica, again)
    async with connect(stage.url, "test") as conn:
        assert await write_notes(conn, replica, [guard(again)]) == set()  # it has ended


async def test_a_hand_over_keeps_a_note_that_nobody_had_written_yet(stage: Stage) -> None:
    claimed = await running(stage)
    owner = stage.rows()[0]["claimed_by"]
    async with connect(stage.url, "test") as conn:
        await write_notes(conn, owner, [guard(claimed, note={"job": "older"})])
        await hand_over_executions(conn, owner, [guard(claimed, note={"job": "newer"})])
        replica = await stage.replica()
        (again,) = await stage.claim(replica)
        assert again["result"] == {"job": "newer"}
        await hand_over_executions(conn, replica, [guard(again, note=None)])  # it had not noted anything itself
    (third,) = await stage.claim(replica)
    assert third["result"] == {"job": "newer"}


async def test_what_a_replica_cannot_go_on_with_waits_a_while_and_not_for_ever(stage: Stage) -> None:
    first = await running(stage)
    owner = stage.rows()[0]["claimed_by"]
    async with connect(stage.url, "test") as conn:
        await hand_over_executions(conn, owner, [guard(first, note={"job": "x"})])
    replica = await stage.replica()
    for days in range(8):
        (claimed,) = await stage.claim(replica)
        assert (claimed["attempt"], claimed["started_at"]) == (1, first["started_at"])
        await leave(stage, replica, claimed)
        assert the(stage, "state", "reason", "attempt", "message") == ("PENDING", "HandedOver", 0, "it cannot be read")
        assert the(stage, "result") == ({"job": "x"},)
        stage.tick(seconds=29)
        assert await stage.claim(replica) == []
        stage.tick(days=1)
        await stage.release()
        assert the(stage, "state") == ("PENDING" if days < 7 else "LOST",)  # 8 days after it was handed over


async def leave(stage: Stage, replica: UUID, claimed: dict[str, Any]) -> None:
    """Write that this replica cannot go on with it, as the runner says it."""
    async with Sessions(stage.url, "test", size=1, **stage.clock_setting) as sessions:
        complete = Complete(sessions, lambda *_: None, lambda *_: None)
        complete.replica = replica
        names = ("id", "fire_time", "claim_no", "attempt", "claimed_at")
        ending = over(assigned(1, "log", **{name: claimed[name] for name in names}))
        left = replace(ending, result=None, message="it cannot be read", retry_after=timedelta(seconds=30))
        complete.add([left])
        await complete.step()


CLAIMS = (claim_executions, claim_fairly)


@pytest.mark.parametrize("claim", CLAIMS)
async def test_a_retry_does_not_begin_with_what_the_attempt_before_left(stage: Stage, claim: Any) -> None:
    claimed = await running(stage)
    owner = stage.rows()[0]["claimed_by"]
    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        await conn.execute('UPDATE job_execution_log SET result = \'{"job": "of attempt 1"}\'')
        await conn.execute("UPDATE job_execution_log SET state = 'PENDING', reason = 'Retrying', claimed_by = NULL")
        (again,) = await claim(conn, owner, ["log"], 1)
        assert again["result"] is None
        await hand_over_executions(conn, owner, [guard(again, note=None)])
        (third,) = await claim(conn, owner, ["log"], 1)
    assert (third["reason"], third["result"]) == ("HandedOver", None)
    assert claimed["id"] == third["id"]


@pytest.mark.parametrize("claim", CLAIMS)
async def test_what_goes_on_says_no_longer_that_its_replica_has_gone(stage: Stage, claim: Any) -> None:
    await running(stage)
    await stage.rescue(SURVIVING)
    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        await claim(conn, await stage.replica(), ["log"], 1)
    assert the(stage, "state", "reason", "message") == ("RUNNING", "HandedOver", None)


async def test_a_newer_run_does_not_end_what_was_handed_over_meanwhile(stage: Stage) -> None:
    claimed = await running(stage)
    await stage.rescue(SURVIVING)
    async with connect(stage.url, "test") as conn:  # it was RUNNING when the caller looked
        assert await end_waiting(conn, [claimed["id"]], [claimed["job_id"]]) == []
        assert await end_waiting(conn, [claimed["id"]], []) == []
    assert the(stage, "state", "reason") == ("PENDING", "HandedOver")


def guard(claimed: dict[str, Any], **changes: Any) -> dict[str, Any]:
    names = ("id", "fire_time", "claim_no")
    return {**{name: claimed[name] for name in names}, "note": {"job": "x"}, **changes}


class Runner:
    """What Claim asks of a runner."""

    free_slots = 1
    running: tuple[Assignment, ...] = ()

    def __init__(self) -> None:
        self.begun: list[Assignment] = []

    def is_blocked(self) -> bool:
        return False

    def submit(self, assignments: Any) -> None:
        self.begun += assignments


async def test_a_replica_that_drains_hands_over_and_the_next_one_knows_what_it_goes_on_with(stage: Stage) -> None:
    await due(stage)
    async with Sessions(stage.url, "test", size=1, **stage.clock_setting) as sessions:
        retried: list[Any] = []
        complete = Complete(sessions, lambda *told: retried.append(told), lambda *_: None)
        first = await begun(stage, sessions, complete)
        assert (first.started_at, first.noted, first.stop) == (None, None, None)
        complete.add([over(first)])
        await complete.step()
        ((endings, stale, again),) = retried
        assert (len(endings), list(stale), again) == (1, [], set())  # neither a retry nor too late
        async with sessions.session() as conn:
            await cancel_execution(conn, first.id, "somebody")
        second = await begun(stage, sessions, complete)
    assert (second.attempt, second.claim_no, second.noted) == (1, 2, {"job": "x"})
    assert second.started_at is not None
    assert second.stop is not None
    assert second.stop.reason == Reason.CANCEL_REQUESTED


async def due(stage: Stage) -> None:
    """An execution that waits to be claimed."""
    await stage.mirror(resource(fixedRate="1h"))
    stage.tick(hours=1, seconds=1)
    await stage.fire()


async def begun(stage: Stage, sessions: Sessions, complete: Complete) -> Assignment:
    runner = Runner()
    claim = Claim(sessions, runner, complete, stage.specs, ["log"], lambda: True)  # type: ignore[arg-type]
    claim.replica = complete.replica = await stage.replica()
    await claim.claim(claim.replica, 1)
    (assignment,) = runner.begun
    return assignment


async def test_a_hand_over_keeps_what_was_logged_and_who_goes_on_logs_after_it(stage: Stage) -> None:
    await due(stage)
    async with Sessions(stage.url, "test", size=1, **stage.clock_setting) as sessions:
        complete = Complete(sessions, lambda *_: None, lambda *_: None)
        first = await begun(stage, sessions, complete)
        complete.add([replace(over(first), output="one\ntwo", output_truncated=True)])
        await complete.step()
        assert logged(stage) == [(1, "one\ntwo", True)]
        second = await begun(stage, sessions, complete)
        assert second.logged == ("one\ntwo", True)
        output = Output(second.logged)
        output.add("three")
        complete.add([replace(over(second), output=output.text(), output_truncated=output.is_truncated)])
        await complete.step()
    assert logged(stage) == [(1, "one\ntwo\nthree", True)]


async def test_who_has_lost_its_claim_hands_over_no_output(stage: Stage) -> None:
    await due(stage)
    async with Sessions(stage.url, "test", size=1, **stage.clock_setting) as sessions:
        complete = Complete(sessions, lambda *_: None, lambda *_: None)
        first = await begun(stage, sessions, complete)
        assert first.replica is not None
        async with sessions.session() as conn:  # as when it was taken for dead
            await hand_over_executions(conn, first.replica, [{**first.guard, "note": None}])
        complete.add([replace(over(first), output="stale")])
        await complete.step()
        assert logged(stage) == []
        assert (await begun(stage, sessions, complete)).logged is None


def logged(stage: Stage) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in stage.rows("SELECT attempt, output, truncated FROM job_execution_output")]


def over(assignment: Assignment) -> Ending:
    return Ending(
        assignment=assignment,
        state=State.PENDING,
        reason=Reason.HANDED_OVER,
        message=None,
        result=b'{"job":"x"}',
        output="",
        output_truncated=False,
        traceback=None,
        started_at=assignment.claimed_at,
        finished_at=assignment.claimed_at,
    )
