"""A machine that does to a scheduler what people and outages do, in any order; then an oracle reads the ledger.

SCHEDULEDJOBS_TEST_RUNS sets how many runs of 30 steps (200; the project's claim is 2,000), SCHEDULEDJOBS_TEST_SEED
their seed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tests.integration.conftest import KEPT, REGISTRY, resource
from tests.oracle.ledger_oracle import CRONS, InForce, standing

from scheduledjobs.core.plan import Judge
from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import TermLost
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.fire import Fire
from scheduledjobs.steps.mirror import Gone, Inbox, Mirror, Seen
from scheduledjobs.steps.release import Release
from scheduledjobs.steps.resume import Resume
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.executions import claim_executions, complete_executions
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.leadership import Leader, raise_term, read_leadership
from scheduledjobs.store.sessions import Connection, Sessions, connect

RUNS = int(os.environ.get("SCHEDULEDJOBS_TEST_RUNS", "200"))
SEED = int(os.environ.get("SCHEDULEDJOBS_TEST_SEED", "0")) or Random().randrange(1, 2**31)
STEPS = 30
ENDED = "SELECT effective_from FROM job_definition_version WHERE job_id = %s AND state = 'DELETED'"
UNTIL = "scheduledjobs.dev/paused-until"
RUN_NOW = "scheduledjobs.dev/run-now"
POLICIES = st.sampled_from(["Forbid", "Allow", "Queue", "Replace"])
MISFIRES = st.sampled_from(["FireOnce", "FireAll", "Skip"])
KINDS = st.sampled_from([*CRONS, "rate", "delay", "once"])


class World:
    """One database and one leader that every run of the machine shares; each run has a namespace of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.offset = timedelta(0)
        self.run(self._open())

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _open(self) -> None:
        self.sessions = await self.stack.enter_async_context(Sessions(self.url, "test", size=2))
        self.seat: Connection = await self.stack.enter_async_context(connect(self.url, "seat"))
        self.leader = await self.take_over()

    async def take_over(self) -> Leader:
        expected = (await read_leadership(self.seat))["term"]
        term = await raise_term(self.url, self.seat, expected, "test")
        assert term is not None
        return Leader(term, "test", self.sessions)

    async def tick(self, delta: timedelta) -> None:
        self.offset += delta
        async with self.sessions.session() as one, self.sessions.session() as two:
            for conn in (one, two):
                setting = f"{self.offset.total_seconds():.6f}s"
                await conn.execute("SELECT set_config('scheduledjobs.clock_offset', %s, false)", [setting])

    async def now(self) -> datetime:
        async with self.sessions.session() as conn:
            return await database_now(conn)

    async def rows(self, query: str, *params: Any) -> list[dict[str, Any]]:
        async with self.sessions.session() as conn:
            cursor = await conn.execute(query.encode(), params)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]

    def close(self) -> None:
        self.run(self.stack.aclose())
        self.loop.close()


@pytest.fixture
def world(database: str) -> Iterator[World]:
    made = World(database)
    yield made
    made.close()


def machine_of(world: World) -> type[RuleBasedStateMachine]:  # noqa: C901 a class of many small rules
    class Machine(RuleBasedStateMachine):
        """The scheduler of one namespace."""

        @initialize(kind=KINDS, policy=POLICIES, misfire=MISFIRES)
        def begin(self, kind: str, policy: str, misfire: str) -> None:
            self.namespace = f"run-{uuid4().hex[:12]}"
            self.specs = Specs()
            self.fire_step: Fire | None = None
            self.replica = uuid4()
            self.claimed: list[dict[str, Any]] = []
            self.segments: dict[UUID, list[InForce]] = {}
            self.delays: dict[UUID, list[tuple[datetime, timedelta]]] = {}
            self.suspended: dict[UUID, list[tuple[datetime, datetime | None]]] = {}
            self.deleted: dict[UUID, datetime] = {}
            self.living: Resource | None = None
            self.version = 0
            self.create(kind, policy, misfire)

        def spec_of(self, kind: str, now: datetime) -> dict[str, Any]:
            if kind == "rate":
                return {"fixedRate": "13s"}
            if kind == "delay":
                return {"fixedDelay": "9s"}
            if kind == "once":
                return {"runAt": (now + timedelta(seconds=45)).isoformat()}
            return dict(CRONS[kind][0])

        def create(self, kind: str, policy: str, misfire: str) -> None:
            if kind == "delay" and policy == "Allow":
                policy = "Forbid"
            now = world.run(world.now())
            spec = {**self.spec_of(kind, now), "concurrencyPolicy": policy, "misfire": {"policy": misfire, "limit": 5}}
            made = resource("job", created_at=now - timedelta(hours=1), resource_version=self.next(), **spec)
            made = replace(made, meta=replace(made.meta, namespace=self.namespace))
            self.apply(made, kind)

        def next(self) -> int:
            self.version += 1
            return self.version

        def apply(self, made: Resource, kind: str | None = None) -> None:
            uid = made.meta.uid
            self.living = made
            written = world.run(self.mirror(Seen(made)))
            if kind is not None:
                self.starts(uid, kind, written.jobs[uid][1].effective_from, made)

        def starts(self, uid: UUID, kind: str, at: datetime, made: Resource) -> None:
            """From `at` on another schedule is in force."""
            stretches = self.segments.setdefault(uid, [])
            if stretches and stretches[-1].until is None:
                stretches[-1].until = at
            if kind == "rate":
                stretches.append(InForce(at, anchor=at, period=timedelta(seconds=13)))
            elif kind == "once":
                stretches.append(InForce(at, run_at=datetime.fromisoformat(made.spec["runAt"])))
            elif kind == "delay":
                self.delays.setdefault(uid, []).append((at, timedelta(seconds=9)))
            else:
                stretches.append(InForce(at, CRONS[kind][1]))

        async def mirror(self, *changes: Any) -> Any:
            seen: list[Any] = []

            async def on_written(written: Any) -> None:
                seen.append(written)

            async def nothing(*_: Any) -> None: ...

            inbox = Inbox()
            judge = Judge(lambda name: name in REGISTRY.names(), REGISTRY.check)
            step = Mirror(world.leader, inbox, self.specs, KEPT, judge, nothing, on_written)
            for change in changes:
                inbox.put(change)
            while len(inbox):
                await step.step()
            (written,) = seen
            return written

        def edited(self, *, annotations: dict[str, str] | None = None, **changes: Any) -> Resource:
            assert self.living is not None
            old = self.living
            meta = replace(old.meta, resource_version=self.next(), generation=old.meta.generation + bool(changes))
            if annotations is not None:
                meta = replace(meta, annotations=annotations)
            spec = {name: value for name, value in {**old.spec, **changes}.items() if value is not None}
            return replace(old, meta=meta, spec=spec)

        @precondition(lambda self: self.living is not None)
        @rule(kind=KINDS)
        def edit_schedule(self, kind: str) -> None:
            cleared = dict.fromkeys(("schedule", "fixedRate", "fixedDelay", "runAt"))
            if kind == "delay" and self.living.spec["concurrencyPolicy"] == "Allow":
                return
            new = {**cleared, "timeZone": "Etc/UTC", **self.spec_of(kind, world.run(world.now()))}
            changed = self.edited(**new)
            same = {k: v for k, v in changed.spec.items() if k in (*cleared, "timeZone")} == {
                k: v for k, v in self.living.spec.items() if k in (*cleared, "timeZone")
            }
            self.apply(changed, None if same else kind)

        @precondition(lambda self: self.living is not None)
        @rule(policy=POLICIES, misfire=MISFIRES)
        def edit_policy(self, policy: str, misfire: str) -> None:
            if policy == "Allow" and "fixedDelay" in self.living.spec:
                policy = "Queue"
            self.apply(self.edited(concurrencyPolicy=policy, misfire={"policy": misfire, "limit": 3}))

        @precondition(lambda self: self.living is not None)
        @rule(suspend=st.booleans())
        def suspend_or_resume(self, suspend: bool) -> None:  # noqa: FBT001
            self.apply(self.edited(suspend=suspend))
            self.resumes_delay()

        def resumes_delay(self) -> None:
            """A fixedDelay may count from a resume."""
            uid = self.living.meta.uid
            if uid in self.delays:
                at = world.run(world.rows("SELECT effective_from FROM job_definition WHERE id = %s", uid))
                self.delays[uid].append((at[0]["effective_from"], timedelta(seconds=9)))

        @precondition(lambda self: self.living is not None)
        @rule(seconds=st.sampled_from([5, 60, 4000]))
        def pause(self, seconds: int) -> None:
            until = world.run(world.now()) + timedelta(seconds=seconds)
            self.apply(self.edited(annotations={UNTIL: until.isoformat()}))

        @precondition(lambda self: self.living is not None)
        @rule()
        def unpause(self) -> None:
            self.apply(self.edited(annotations={}))
            self.resumes_delay()

        @precondition(lambda self: self.living is not None)
        @rule()
        def run_now(self) -> None:
            self.apply(self.edited(annotations={**self.living.meta.annotations, RUN_NOW: uuid4().hex}))

        @precondition(lambda self: self.living is not None)
        @rule()
        def delete(self) -> None:
            meta = self.living.meta
            written = world.run(self.mirror(Gone(meta.uid, meta.namespace, meta.name)))
            self.deleted[meta.uid] = written.now
            ended = world.run(world.rows(ENDED, meta.uid))[0]["effective_from"]
            if self.segments.get(meta.uid) and self.segments[meta.uid][-1].until is None:
                self.segments[meta.uid][-1].until = ended
            self.living = None

        @precondition(lambda self: self.living is None)
        @rule(kind=KINDS, policy=POLICIES, misfire=MISFIRES)
        def create_again(self, kind: str, policy: str, misfire: str) -> None:
            self.create(kind, policy, misfire)

        @rule(seconds=st.sampled_from([1, 3, 10, 31, 100, 700, 4000]))
        def tick(self, seconds: int) -> None:
            world.run(world.tick(timedelta(seconds=seconds)))

        @rule(seconds=st.sampled_from([1, 5, 30]))
        def step_the_clock_back(self, seconds: int) -> None:
            world.run(world.tick(-timedelta(seconds=seconds)))

        @rule()
        def fire(self) -> None:
            world.run(self.fire_all())

        async def fire_all(self) -> None:
            await self.end_pauses()
            clock = Clock()
            clock.sample((await world.now()).timestamp())

            def fail(job: Any, error: Exception) -> None:
                raise AssertionError(f"{job}: {error}")

            step = Fire(world.leader, clock, self.specs, KEPT, lambda *_: None, fail)
            step.may_fire_old = True
            while await step.step() == 0.0:
                pass
            await step.sweep()

        async def end_pauses(self) -> None:
            async def nothing(_: Any) -> None: ...

            judge = Judge(lambda name: name in REGISTRY.names(), REGISTRY.check)
            step = Resume(world.leader, self.specs, KEPT, judge, nothing)
            while await step.step() == 0.0:
                pass
            for uid in self.delays:
                rows = await world.rows("SELECT effective_from FROM job_definition WHERE id = %s", uid)
                self.delays[uid].append((rows[0]["effective_from"], timedelta(seconds=9)))

        @rule()
        def release(self) -> None:
            world.run(self.release_all())

        async def release_all(self) -> None:
            async def nothing(_: Any) -> None: ...

            await Release(world.leader, self.specs, nothing, lambda _: None, lambda: None, lambda: None).step()

        @rule()
        def claim(self) -> None:
            async def work() -> None:
                async with world.sessions.session() as conn:
                    self.claimed += await claim_executions(conn, self.replica, ["log"], 10)

            world.run(work())

        @rule(state=st.sampled_from(["SUCCEEDED", "FAILED", "CANCELLED"]), retried=st.booleans())
        def complete(self, state: str, retried: bool) -> None:  # noqa: FBT001
            async def work() -> None:
                now = await world.now()
                rows = [
                    {
                        **{key: claimed[key] for key in ("id", "fire_time", "claim_no", "job_id")},
                        "state": state,
                        "started_at": now,
                        "finished_at": now,
                        "duration_ms": 0,
                        "abandoned": False,
                        "retry_seconds": 20.0 if retried and state == "FAILED" else None,
                    }
                    for claimed in self.claimed
                ]
                async with world.sessions.session() as conn:
                    await complete_executions(conn, self.replica, rows)
                self.claimed = []

            world.run(work())

        @rule()
        def restart(self) -> None:
            """The leader forgets all it knew."""
            self.specs = Specs()

        @rule()
        def take_over(self) -> None:
            """Another leader; the old one writes nothing any more."""

            async def work() -> None:
                old = world.leader
                world.leader = await world.take_over()
                with pytest.raises(TermLost):
                    async with old.write():
                        raise AssertionError("an older term must not write")

            world.run(work())

        def teardown(self) -> None:
            if hasattr(self, "living"):
                world.run(self.check())
                if self.living is not None:  # or it would be fired in every run after this one
                    meta = self.living.meta
                    world.run(self.mirror(Gone(meta.uid, meta.namespace, meta.name)))

        async def check(self) -> None:
            await world.tick(timedelta(seconds=61))
            await self.fire_all()
            now = await world.now()
            rows = await world.rows(
                "SELECT id, job_id, fire_time, last_fire_time, moment_count, state, reason, run_key, finished_at"
                " FROM job_execution_log WHERE namespace = %s AND run_key = '' ORDER BY fire_time",
                self.namespace,
            )
            jobs = await world.rows("SELECT * FROM job_definition WHERE namespace = %s", self.namespace)
            for job in jobs:
                mine = [row for row in rows if row["job_id"] == job["id"]]
                self.check_job(job, mine, now)

        def check_job(self, job: dict[str, Any], rows: list[dict[str, Any]], now: datetime) -> None:
            uid = job["id"]
            until = job["next_fire_at"] or now + timedelta(days=1)  # the clock may have been set back
            assert job["next_fire_at"] is None or job["next_due_at"] > now or job["state"] == "SUSPENDED", job
            due: list[datetime] = []
            for stretch in self.segments.get(uid, []):
                due += [moment for moment in stretch.moments(until) if not due or moment > due[-1]]
            delay_rows = [row for row in rows if self.is_delay(uid, row["fire_time"])] if uid in self.delays else []
            others = [row for row in rows if row not in delay_rows]
            counts = standing(others, due)
            wrong = {moment: count for moment, count in counts.items() if count != 1}
            assert not wrong, (job["name"], wrong, self.segments.get(uid), others[:40])
            unknown = set(counts) - set(due)
            assert not unknown, (unknown, self.segments.get(uid))
            self.check_delay(uid, delay_rows)

        def is_delay(self, uid: UUID, moment: datetime) -> bool:
            return not any(
                stretch.since <= moment and (stretch.until is None or moment < stretch.until)
                for stretch in self.segments.get(uid, [])
            )

        def check_delay(self, uid: UUID, rows: list[dict[str, Any]]) -> None:
            """Each follows the end of the one before it, or the beginning of a stretch."""
            for number, row in enumerate(rows):
                starts = {since + delay for since, delay in self.delays[uid]}
                if number and rows[number - 1]["finished_at"] is not None:
                    starts.add(rows[number - 1]["finished_at"] + timedelta(seconds=9))
                assert row["fire_time"] in starts, (row, starts, rows[:number])

    return Machine


def test_every_due_moment_has_exactly_one_row_whatever_is_done(world: World, capsys: Any) -> None:
    chosen = settings(
        max_examples=RUNS,
        stateful_step_count=STEPS,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    with capsys.disabled():
        print(f"\nledger machine: {RUNS} runs of {STEPS} steps, seed {SEED}, {datetime.now(UTC):%H:%M:%S}")
    run_state_machine_as_test(with_seed(SEED)(machine_of(world)), settings=chosen)
