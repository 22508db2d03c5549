"""Claim on insert: what the firing replica has slots for begins with the COMMIT that decides it, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from tests.integration.conftest import KEPT, Stage, resource
from tests.integration.ledger_world import Shaky
from tests.integration.slots import Slots, claims

from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.steps.claim import UNSURE_SECONDS, Claim
from scheduledjobs.steps.fire import Fire
from scheduledjobs.store.queries import Row


@dataclass
class Firing:
    """A leader that fires, and the claims of the replica that it is."""

    leader: Shaky
    fire: Fire
    claim: Claim
    slots: Slots
    to_claim: list[int]
    now: float = 0.0


@asynccontextmanager
async def firing(stage: Stage, slots: int = 5, limit: int = 0, jobs: int = 2) -> AsyncIterator[Firing]:
    """As many jobs due once, and a replica that has looked for what it does not know of and found nothing waiting."""
    for number in range(jobs):
        await stage.mirror(resource(f"job-{number}", fixedRate="10s"))
    stage.tick(seconds=11)
    counted: list[int] = []
    async with stage.leader() as leader:
        shaky, taken = Shaky(leader.term, leader.holder, leader._sessions), Slots(slots)
        async with claims(stage, taken, limit, lambda: found.now if found else 0.0) as claim:
            found: Firing | None = None
            fire = Fire(
                shaky,
                await stage._clock(),
                stage.specs,
                KEPT,
                lambda _jobs, _rows, to_claim: counted.append(to_claim),
                stage.on_failed,
                claim,
                on_unheard=stage.unheard.extend,
            )
            fire.may_fire_old = True
            await claim.step()
            found = Firing(shaky, fire, claim, taken, counted)
            yield found


def states(stage: Stage) -> list[tuple[str, int, int]]:
    return [(row["state"], row["claim_no"], row["attempt"]) for row in stage.rows()]


async def test_what_there_are_slots_for_is_inserted_as_claimed_and_begins(stage: Stage) -> None:
    async with firing(stage) as found:
        await found.fire.step()
        assert states(stage) == [("RUNNING", 1, 1)] * 2
        assert {row["claimed_by"] for row in stage.rows()} == {found.claim.replica}
        assert found.to_claim == [0]
        assert sorted(a.job_name for a in found.slots.running) == ["job-0", "job-1"]
        assert {a.key for a in found.slots.running} == {(row["id"], 1) for row in stage.rows()}
        for row, assignment in zip(stage.rows(), sorted(found.slots.running, key=lambda a: a.id), strict=True):
            assert (assignment.fire_time, assignment.claimed_at) == (row["fire_time"], row["claimed_at"])
            assert row["started_at"] == row["claimed_at"]
            assert row["lateness_ms"] >= 1000


async def test_what_is_never_run_is_not_claimed(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s"))
    stage.tick(seconds=11)
    await stage.fire()
    async with firing(stage, jobs=0) as found:
        await found.fire.step()
    first, skipped = stage.rows()
    assert (first["state"], skipped["state"], skipped["reason"]) == ("PENDING", "SKIPPED", "Overlap")
    assert (skipped["claimed_by"], skipped["claim_no"], skipped["started_at"]) == (None, 0, None)
    assert found.slots.running == []


async def test_what_there_are_no_slots_for_waits_for_any_replica(stage: Stage) -> None:
    async with firing(stage, slots=1) as found:
        await found.fire.step()
        assert states(stage) == [("PENDING", 0, 0)] * 2
        assert found.to_claim == [2]
        assert found.slots.running == []


@pytest.mark.parametrize("why", ["limited", "draining", "blocked", "unregistered", "reconciling", "others wait"])
async def test_nothing_is_claimed_on_insert_by_who_may_not_claim(stage: Stage, why: str) -> None:
    async with firing(stage, limit=10 if why == "limited" else 0) as found:
        found.claim.is_draining = why == "draining"
        found.slots.blocked = why == "blocked"
        if why == "unregistered":
            found.claim.replica = None
        if why == "reconciling":
            found.now = 10.0
        if why == "others wait":
            found.slots.free_slots = 0
            await found.claim.step()
            found.slots.empty()
        await found.fire.step()
        assert states(stage) == [("PENDING", 0, 0)] * 2
        assert found.to_claim == [2]


async def test_slots_that_are_kept_for_a_transaction_are_nobody_elses(stage: Stage) -> None:
    async with firing(stage, slots=2) as found:
        assert found.claim.reserve(["log"], 2) == found.claim.replica
        assert found.claim.reserve(["log"], 1) is None
        await found.fire.step()
        assert states(stage) == [("PENDING", 0, 0)] * 2
        assert await found.claim.step() is None  # no slot is free
        assert found.slots.running == []


async def test_while_rows_may_be_on_their_way_nobody_looks_for_unknown_claims(stage: Stage) -> None:
    """Else it would find them claimed and not known, give them back, and they would run twice."""
    async with firing(stage) as found:
        looked = asyncio.Event()
        find = found.claim.reconcile

        async def reconcile(replica: object) -> None:
            looked.set()
            await find(replica)  # type: ignore[arg-type]

        found.claim.reconcile = reconcile  # type: ignore[method-assign]
        async with found.leader.write() as conn:
            assert found.claim.reserve(["log"], 1) is not None
            found.now = 60.0  # it is long due
            await found.claim.step()
            assert not looked.is_set()
            assert conn.info.server_version
        found.claim.give_up(1)
        await found.claim.step()
        assert looked.is_set()


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_if_nobody_knows_whether_they_were_written_they_are_looked_for_and_given_back(
    stage: Stage, fails: str
) -> None:
    async with firing(stage) as found:
        found.leader.fails = fails
        with pytest.raises(StoreUnavailable):
            await found.fire.step()
        assert found.slots.running == []
        assert states(stage) == ([("RUNNING", 1, 1)] * 2 if fails == "after" else [])
        await found.claim.step()
        assert states(stage) == ([("PENDING", 1, 0)] * 2 if fails == "after" else [])
        found.now += UNSURE_SECONDS + 0.1
        await found.claim.step()
        await found.fire.step()
        assert states(stage) == [("PENDING", 1, 0) if fails == "after" else ("RUNNING", 1, 1)] * 2


async def test_a_commit_that_lands_after_the_look_is_found_at_the_next(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s"))
    stage.tick(seconds=11)
    await stage.fire()
    async with firing(stage, jobs=0) as found:
        assert found.claim.reserve(["log"], 1) is not None
        found.claim.give_up(1)
        await found.claim.step()
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute(
                "UPDATE job_execution_log SET state = 'RUNNING', claim_no = 1, attempt = 1, claimed_by = %s",
                [found.claim.replica],
            )
        found.now = UNSURE_SECONDS + 0.1
        await found.claim.step()
        assert states(stage) == [("PENDING", 1, 0)]


async def test_a_claim_on_its_way_does_not_forget_what_is_to_be_looked_for(stage: Stage) -> None:
    """An insert loses its answer while a claim waits for its own: the claim's answer says nothing of the insert."""
    async with firing(stage, jobs=1) as found:
        take = found.claim._take
        assert found.claim.reserve(["log"], 1) is not None

        async def take_and_lose(*args: Any) -> list[Row]:
            found.claim.give_up(1)
            with psycopg.connect(stage.url, autocommit=True) as conn:
                conn.execute(
                    "UPDATE job_execution_log SET state = 'RUNNING', claim_no = 1, attempt = 1, claimed_by = %s",
                    [found.claim.replica],
                )
            return await take(*args)

        await stage.fire()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(found.claim, "_take", take_and_lose)
            await found.claim.step()
        assert states(stage) == [("RUNNING", 1, 1)]
        await found.claim.step()
        assert states(stage) == [("PENDING", 1, 0)]


async def test_while_a_claim_is_on_its_way_half_of_the_slots_are_left_for_inserts(stage: Stage) -> None:
    async with firing(stage, slots=5) as found:
        take, kept = found.claim._take, list[bool]()
        await found.claim.step()

        async def take_and_insert(conn: Any, replica: Any, slots: int) -> list[Row]:
            assert slots == 3
            kept.extend(found.claim.reserve(["log"], count) is not None for count in (3, 2, 1))
            return await take(conn, replica, slots)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(found.claim, "_take", take_and_insert)
            await found.claim.step()
        assert kept == [False, True, False]
        assert found.claim.reserve(["log"], 3) is not None


async def test_once_the_answer_to_a_claim_is_lost_nothing_is_inserted_as_claimed_before_it_was_looked_for(
    stage: Stage,
) -> None:
    """Nor does the answer to another claim, which is sent while an insert is on its way, make that forgotten."""
    async with firing(stage, slots=8, jobs=1) as found:
        take = found.claim._take
        await found.claim.step()

        async def lose(*args: Any) -> list[Row]:
            assert found.claim.reserve(["log"], 1) is not None
            await take(*args)
            raise StoreUnavailable("the answer was lost")

        await stage.fire()
        with psycopg.connect(stage.url, autocommit=True) as conn:  # due by the clock of the session that claims, too
            conn.execute("UPDATE job_execution_log SET visible_at = now() - interval '1 s'")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(found.claim, "_take", lose)
            with pytest.raises(StoreUnavailable):
                await found.claim.step()
        assert states(stage) == [("RUNNING", 1, 1)]
        await found.claim.step()  # an insert is on its way: it claims, and does not look
        assert found.claim.reserve(["log"], 1) is None
        found.claim._reserved -= 1  # the insert has its answer
        await found.claim.step()
        assert found.claim.reserve(["log"], 1) is not None
        assert [a.claim_no for a in found.slots.running] == [2]  # given back, and claimed anew in the same step


async def test_a_replica_that_drains_goes_on_looking_until_it_is_sure(stage: Stage) -> None:
    async with firing(stage, jobs=1) as found:
        assert found.claim.reserve(["log"], 1) is not None
        found.claim.give_up(1)
        found.claim.drain()
        assert await found.claim.step() is not None
        assert not found.claim.is_drained
        found.now = UNSURE_SECONDS + 0.1
        await found.claim.step()
        assert found.claim.is_drained


async def test_who_may_start_nothing_any_more_gives_back_what_it_inserted(stage: Stage) -> None:
    async with firing(stage, jobs=1) as found:
        reserve = found.claim.reserve

        def reserve_and_drain(*args: object) -> object:
            taken = reserve(*args)  # type: ignore[arg-type]
            found.claim.is_draining = True
            return taken

        found.claim.reserve = reserve_and_drain  # type: ignore[method-assign, assignment]
        await found.fire.step()
        assert states(stage) == [("PENDING", 1, 0)]
        assert found.slots.running == []


async def test_two_passes_at_once_fire_each_moment_once(stage: Stage) -> None:
    async with firing(stage, slots=10, jobs=6) as found:
        await asyncio.gather(found.fire.step(), found.fire.step())
        assert states(stage) == [("RUNNING", 1, 1)] * 6
        assert len({row["job_id"] for row in stage.rows()}) == 6
