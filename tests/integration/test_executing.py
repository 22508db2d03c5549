"""Claims, completions and rescue: one live attempt, whoever is late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs import metrics
from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.heartbeat import Heartbeat
from scheduledjobs.steps.rescue import Rescue
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.executions import find_owned_executions, hand_back_executions
from scheduledjobs.store.instances import beat_instance, bury_instances
from scheduledjobs.store.sessions import Sessions, connect


async def pending(stage: Stage, jobs: int = 1) -> None:
    for number in range(jobs):
        await stage.mirror(resource(f"job-{number}", fixedRate="1s"))
    stage.tick(seconds=1.5)
    await stage.fire()


async def test_concurrent_claims_never_share_an_execution(stage: Stage) -> None:
    await pending(stage, jobs=12)
    replicas = [await stage.replica() for _ in range(4)]
    claims = await asyncio.gather(*(stage.claim(replica, 5) for replica in replicas))
    ids = [row["id"] for claim in claims for row in claim]
    assert len(ids) == len(set(ids)) == 12


async def test_a_completion_is_written_once(stage: Stage) -> None:
    await pending(stage)
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    assert await stage.complete(replica, claimed) == {claimed["id"]: "SUCCEEDED"}
    assert await stage.complete(replica, claimed, "FAILED") == {}
    (row,) = stage.rows()
    assert (row["state"], row["attempt"], row["claim_no"]) == ("SUCCEEDED", 1, 1)


async def test_a_completion_under_an_older_claim_is_discarded(stage: Stage) -> None:
    await pending(stage)
    first, second = await stage.replica(), await stage.replica()
    (stale,) = await stage.claim(first)
    async with connect(stage.url, "test") as conn:
        assert await hand_back_executions(conn, first, [stale]) == {stale["id"]}
    (fresh,) = await stage.claim(second)
    assert fresh["claim_no"] == 2
    assert fresh["attempt"] == 1  # what was handed back unstarted is no attempt
    assert await stage.complete(first, stale) == {}
    assert await stage.complete(second, fresh) == {fresh["id"]: "SUCCEEDED"}


async def test_how_late_the_first_attempt_was_stays_known_when_a_claim_of_its_retry_is_given_back(stage: Stage) -> None:
    await pending(stage)
    replica = await stage.replica()
    (first,) = await stage.claim(replica)
    async with connect(stage.url, "test") as conn:
        await hand_back_executions(conn, replica, [first])
    assert [row["lateness_ms"] for row in stage.rows()] == [None]  # nothing has started
    (first,) = await stage.claim(replica)
    await stage.complete(replica, first, "FAILED", retry_seconds=60)
    (late,) = [row["lateness_ms"] for row in stage.rows()]
    assert late is not None
    stage.tick(seconds=61)
    (second,) = await stage.claim(replica)
    async with connect(stage.url, "test") as conn:
        assert await hand_back_executions(conn, replica, [second]) == {second["id"]}
    (third,) = await stage.claim(replica)
    assert third["attempt"] == 2
    await stage.complete(replica, third)
    assert [row["lateness_ms"] for row in stage.rows()] == [late]


async def test_a_replica_finds_claims_whose_answer_it_never_got(stage: Stage) -> None:
    await pending(stage)
    replica = await stage.replica()
    await stage.claim(replica)
    async with connect(stage.url, "test") as conn:
        owned = await find_owned_executions(conn, replica)
        await hand_back_executions(conn, replica, owned)
    assert [row["state"] for row in stage.rows()] == ["PENDING"]


async def test_what_a_dead_replica_ran_is_lost_and_its_completion_is_stale(stage: Stage) -> None:
    await pending(stage)
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    async with connect(stage.url, "test") as conn:
        instance = stage.rows("SELECT id, heartbeat_at FROM scheduler_instance")
        assert await bury_instances(conn, instance) == {replica}
    await stage.rescue()
    async with connect(stage.url, "test") as conn:
        assert await beat_instance(conn, replica, running=0, is_leader=False, term=None) is None
    assert await stage.complete(replica, claimed) == {}
    assert [(row["state"], row["reason"]) for row in stage.rows()] == [("LOST", "ReplicaDied")]


async def test_a_replica_whose_heartbeat_moves_is_not_buried(stage: Stage) -> None:
    replica = await stage.replica()
    (seen,) = stage.rows("SELECT id, heartbeat_at FROM scheduler_instance")
    stage.tick(seconds=1)
    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        await beat_instance(conn, replica, running=0, is_leader=False, term=None)
        assert await bury_instances(conn, [seen]) == set()


class Watch:
    """A rescue whose monotonic clock is the test's."""

    def __init__(self, leader: Any) -> None:
        self.now = 0.0
        self.is_trusted = True
        self.lost: list[int] = []
        self.own: UUID | None = None
        self.step = Rescue(
            leader,
            lambda: self.is_trusted,
            self._on_lost,
            lambda _: None,
            Specs(),
            lambda: self.now,
            own=lambda: self.own,
        )

    def _on_lost(self, rows: Sequence[Any]) -> None:
        self.lost.append(len(rows))

    async def look(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            await self.step.step()


@pytest.mark.parametrize(("seconds", "is_dead"), [(9, False), (12, True)])
async def test_a_silent_replica_is_dead_after_ten_seconds_of_unbroken_sight(
    stage: Stage,
    seconds: int,
    is_dead: bool,  # noqa: FBT001
) -> None:
    await stage.replica()
    async with stage.leader() as leader:
        watch = Watch(leader)
        await watch.look(seconds)
    assert watch.lost == ([0] if is_dead else [])  # told once, though it ran nothing
    (row,) = stage.rows("SELECT dead_at FROM scheduler_instance")
    assert (row["dead_at"] is not None) is is_dead


async def test_what_is_lost_with_its_replica_is_counted_among_what_has_ended(stage: Stage) -> None:
    """Replicas count what they end themselves: one that its handler has killed would not raise the alert of it."""
    lost = metrics.executions("log", "Lost")
    before = lost._value.get()
    await stage.mirror(resource(fixedRate="1h"))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    assert len(await stage.claim(uuid4())) == 1
    await stage.rescue()
    assert lost._value.get() == before + 1


async def test_a_leader_does_not_bury_itself(stage: Stage) -> None:
    """While it leads its work goes on without a heartbeat, since nobody else may rescue it."""
    own = await stage.replica()
    async with stage.leader() as leader:
        watch = Watch(leader)
        watch.own = own
        await watch.look(12)
    assert stage.rows("SELECT dead_at FROM scheduler_instance") == [{"dead_at": None}]
    assert watch.lost == []


async def test_a_leader_that_does_not_trust_its_lease_buries_nobody(stage: Stage) -> None:
    await stage.replica()
    async with stage.leader() as leader:
        watch = Watch(leader)
        watch.is_trusted = False
        await watch.look(30)
    assert [row["dead_at"] for row in stage.rows("SELECT dead_at FROM scheduler_instance")] == [None]


async def test_a_gap_in_the_leaders_sight_begins_it_anew(stage: Stage) -> None:
    await stage.replica()
    async with stage.leader() as leader:
        watch = Watch(leader)
        await watch.look(8)
        watch.now += 60
        await watch.look(8)
    assert [row["dead_at"] for row in stage.rows("SELECT dead_at FROM scheduler_instance")] == [None]


async def test_a_look_that_fails_begins_the_leaders_sight_anew(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Any) -> None:
        raise StoreUnavailable("the session broke")

    await stage.replica()
    async with stage.leader() as leader:
        watch = Watch(leader)
        await watch.look(8)
        with monkeypatch.context() as patch:
            patch.setattr("scheduledjobs.steps.rescue.list_instances", fail)
            with pytest.raises(StoreUnavailable):
                await watch.look(1)
        await watch.look(9)
    assert [row["dead_at"] for row in stage.rows("SELECT dead_at FROM scheduler_instance")] == [None]


async def test_an_unknown_owner_counts_as_dead(stage: Stage) -> None:
    await pending(stage)
    await stage.claim(uuid4())
    await stage.rescue()
    assert [row["state"] for row in stage.rows()] == ["LOST"]


async def test_a_heartbeat_tells_how_long_the_one_before_took_and_how_late_the_loop_was(stage: Stage) -> None:
    times = iter([1.0, 1.25, 2.0, 2.5])
    state = {"running": 0, "is_leader": False, "term": None, "loop_lag_ms": 7.0}
    async with Sessions(stage.url, "test", size=1) as sessions:
        beating = Heartbeat(
            sessions,
            Clock(),
            {"hostname": "r", "version": "1", "slots": 4, "handlers": ["log"]},
            on_beat=lambda _: None,
            on_dead=lambda: None,
            on_registered=lambda _: None,
            on_clock_step=lambda: None,
            state=lambda: state,
            monotonic=lambda: next(times),
        )
        await beating.step()
        assert stage.rows("SELECT database_ms FROM scheduler_instance") == [{"database_ms": None}]
        await beating.step()
    told = stage.rows("SELECT database_ms, loop_lag_ms FROM scheduler_instance")
    assert told == [{"database_ms": 250.0, "loop_lag_ms": 7.0}]
