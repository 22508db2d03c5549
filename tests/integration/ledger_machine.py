"""What people, outages and clocks do to a scheduler, as the rules of a Hypothesis machine; a book for each job holds
what the database shows after every action against the rules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar
from uuid import UUID, uuid4

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.integration.conftest import resource
from tests.integration.ledger_specs import KINDS, POLICIES, RULES, SCHEDULE_FIELDS, fields_of, schedule_of, stretch_of
from tests.integration.ledger_world import Process, World, new_replica
from tests.oracle.ledger_book import Book, Look, Terms
from tests.oracle.ledger_oracle import Rules

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import StoreUnavailable, TermLost
from scheduledjobs.ledger.verify import verify
from scheduledjobs.steps.inbox import Gone, Seen
from scheduledjobs.store.executions import claim_executions, complete_executions

NAMESPACE = "run"
UNTIL, RUN_NOW = "scheduledjobs.dev/paused-until", "scheduledjobs.dev/run-now"
ROWS = (
    "SELECT id, job_id, fire_time, last_fire_time, moment_count, state, reason, run_key, finished_at, started_at,"
    " attempt, due_at, abandoned, missed_count, first_missed_at, claimed_by,"
    " visible_at = 'infinity' AS is_held, nullif(visible_at, 'infinity') AS visible_at"
    " FROM job_execution_log ORDER BY fire_time, id"
)
OLD = 4
"""After so many actions a job may be deleted."""

ENDED = "SELECT job_id, effective_from FROM job_definition_version WHERE state = 'DELETED'"
BEGINS = [
    datetime(2027, 3, 10, 10, 17, 23, 400_000, tzinfo=UTC),
    datetime(2027, 3, 10, 23, 40, 1, 700_000, tzinfo=UTC),  # a UTC midnight is near: range rows end there
    datetime(2027, 3, 28, 0, 30, 9, 100_000, tzinfo=UTC),  # Berlin's clocks go forward at 1:00
]


class LedgerMachine(RuleBasedStateMachine):
    """The scheduler of one job at a time, and of those that were before it."""

    world: ClassVar[World]
    age = 0
    has_failed = True
    """An action failed, or none was taken: there is nothing to hold at the end."""

    @initialize(begins=st.sampled_from(BEGINS), kind=KINDS, policy=POLICIES, rules=RULES, retries=st.booleans())
    def begin(self, begins: datetime, kind: str, policy: str, rules: Rules, retries: bool) -> None:  # noqa: FBT001
        self.books: dict[UUID, Book] = {}
        self.living: dict[tuple[str, str], Resource] = {}
        self.unseen: UUID | None = None
        """A job whose resource was deleted while nobody watched."""
        self.older: Resource | None = None
        self.versions = 0
        self.retry = {"limit": 2, "backoff": "10s"} if retries else None
        self.claimed: list[dict[str, Any]] = []
        self.world.run(self.world.begin(begins))
        self.process = Process(self.world, self.living, is_compared=True)
        self.replica = self.world.run(new_replica(self.world))
        self.create(kind, policy, rules, has_token=False)

    # How an action is taken, and looked at. Preconditions look at no row: Hypothesis wants the same of every replay.

    def act(self, work: Callable[[], Awaitable[Any]], *what: tuple[UUID, Callable[[Look], None]]) -> None:
        """Do something, and hold what each job then shows against its book; those not named have not moved."""
        self.age += 1
        before = self.world.run(self.world.now())
        self.world.run(self._persist(work))
        looks = self.world.run(self._look(before))
        self.has_failed = True  # until all is held
        told = dict(what)
        for uid, book in self.books.items():
            told.get(uid, book.nothing)(looks[uid])
            self._hold_starts(looks[uid].rows)
        self.has_failed = False

    def act_on_all(self, work: Callable[[], Awaitable[Any]], what: Callable[[Book, Look], None]) -> None:
        self.act(work, *[(uid, partial(what, book)) for uid, book in self.books.items()])

    async def _persist(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Do it, and again if its transaction fails: one that was rolled back has changed nothing."""
        fails = self.world.leader.fails
        try:
            await work()
        except StoreUnavailable:
            if fails == "before":
                rows = {row["id"]: row for row in await self.world.rows(ROWS)}
                assert rows.keys() == {row["id"] for book in self.books.values() for row in book.rows}
            await work()

    async def _look(self, before: datetime) -> dict[UUID, Look]:
        rows, jobs = await self.world.rows(ROWS), await self.world.rows("SELECT * FROM job_definition")
        ended = {row["job_id"]: row["effective_from"] for row in await self.world.rows(ENDED)}
        after = await self.world.now()
        return {
            job["id"]: Look(
                before, after, [row for row in rows if row["job_id"] == job["id"]], job, ended.get(job["id"])
            )
            for job in jobs
        }

    def _hold_starts(self, rows: Sequence[dict[str, Any]]) -> None:
        """Nothing starts early, by its jitter either; a second attempt may seem to, after the clock was set back."""
        for row in rows:
            if row["attempt"] > 1 or row["reason"] == "Retrying":
                continue
            due_at = row["due_at"] or row["fire_time"]
            assert row["fire_time"] <= due_at < row["fire_time"] + timedelta(seconds=3), row
            assert row["started_at"] is None or row["started_at"] >= due_at, row
            assert row["state"] != "PENDING" or row["is_held"] or row["visible_at"] >= due_at, row

    # The resource

    @property
    def resource(self) -> Resource:
        return self.living[NAMESPACE, "job"]

    def create(self, kind: str, policy: str, rules: Rules, *, has_token: bool) -> None:
        now = self.world.run(self.world.now())
        policy = "Forbid" if policy == "Allow" and "delay" in kind else policy
        token = {RUN_NOW: uuid4().hex} if has_token else {}
        spec = {**schedule_of(kind, now), **fields_of(rules, policy), "retry": self.retry}
        made = resource(
            created_at=now - timedelta(hours=1), resource_version=self.next(), annotations=token, uid=uuid4(), **spec
        )
        made = replace(made, meta=replace(made.meta, namespace=NAMESPACE))
        book = Book(made.meta.uid, made.created_at, Terms(rules, policy))
        book.tokens = dict.fromkeys(token.values(), True)
        self.books[book.uid] = book
        self.living[NAMESPACE, "job"] = made
        self.age = 0
        what = [(book.uid, partial(book.create, stretch_at=partial(stretch_of, made.spec)))]
        if self.unseen is not None:  # its name is taken, so it must be gone
            what.append((self.unseen, self.books[self.unseen].delete))
            self.unseen = None
        self.mirror(Seen(made), *what)

    def next(self) -> int:
        self.versions += 1
        return self.versions

    def mirror(self, change: Seen | Gone, *what: tuple[UUID, Callable[[Look], None]]) -> None:
        self.process.put([change])
        self.act(self.process.mirror_all, *what)

    def edit(self, *, annotations: dict[str, str] | None = None, **changes: Any) -> None:
        """Another resource under the same uid; `annotations` are merged, an empty value removes one."""
        old = self.resource
        merged = {**old.meta.annotations, **(annotations or {})}
        meta = replace(old.meta, resource_version=self.next(), generation=old.meta.generation + bool(changes))
        meta = replace(meta, annotations={key: value for key, value in merged.items() if value})
        new = replace(old, meta=meta, spec={k: v for k, v in {**old.spec, **changes}.items() if v is not None})
        self.older, self.living[NAMESPACE, "job"] = old, new
        book = self.books[meta.uid]
        if RUN_NOW in meta.annotations:
            book.tokens.setdefault(meta.annotations[RUN_NOW], False)
        moved = any(old.spec.get(field) != new.spec.get(field) for field in SCHEDULE_FIELDS)
        until = meta.annotations.get(UNTIL)
        terms = replace(
            book.terms,
            suspend=new.spec["suspend"],
            paused_until=None if until is None else datetime.fromisoformat(until),
            policy=new.spec["concurrencyPolicy"],
        )
        if "misfire" in changes:
            terms = replace(terms, rules=self.rules)
        stretch_at = partial(stretch_of, new.spec) if moved else None
        self.mirror(Seen(new), (book.uid, partial(book.change, terms=terms, stretch_at=stretch_at)))

    def lives(self) -> bool:
        return bool(self.living)

    def has_lived(self) -> bool:
        return bool(self.living) and self.age > OLD

    def is_deleted(self) -> bool:
        return not self.living

    @precondition(lives)
    @rule(kind=KINDS)
    def edit_schedule(self, kind: str) -> None:
        if not ("delay" in kind and self.resource.spec["concurrencyPolicy"] == "Allow"):
            self.edit(**schedule_of(kind, self.world.run(self.world.now())))

    @precondition(lives)
    @rule(policy=POLICIES, rules=RULES)
    def edit_policy(self, policy: str, rules: Rules) -> None:
        self.rules = rules
        self.edit(**fields_of(rules, "Queue" if policy == "Allow" and "fixedDelay" in self.resource.spec else policy))

    @precondition(lives)
    @rule(suspend=st.booleans())
    def suspend_or_resume(self, suspend: bool) -> None:  # noqa: FBT001
        self.edit(suspend=suspend)

    @precondition(lives)
    @rule(seconds=st.sampled_from([0, 5, 60, 4000]))
    def pause(self, seconds: int) -> None:
        """Paused for so long; 0: the pause is taken off."""
        until = self.world.run(self.world.now()) + timedelta(seconds=seconds)
        self.edit(annotations={UNTIL: until.isoformat() if seconds else ""})

    @precondition(lives)
    @rule(again=st.booleans())
    def run_now(self, again: bool) -> None:  # noqa: FBT001
        """A request, or one that was made before, once more."""
        tokens = list(self.books[self.resource.meta.uid].tokens)
        self.edit(annotations={RUN_NOW: tokens[0] if again and tokens else uuid4().hex})

    @precondition(has_lived)
    @rule(is_watched=st.booleans())
    def delete(self, is_watched: bool) -> None:  # noqa: FBT001
        uid = self.living.pop((NAMESPACE, "job")).meta.uid
        if is_watched:
            self.mirror(Gone(uid, NAMESPACE, "job"), (uid, self.books[uid].delete))
        else:
            self.unseen = uid

    @precondition(lambda self: self.unseen is not None)
    @rule()
    def compare(self) -> None:
        """A process that has just begun finds that a job is gone."""
        uid, self.unseen = self.unseen, None
        self.restart()
        self.mirror(Gone(uid, NAMESPACE, "job"), (uid, self.books[uid].delete))

    @precondition(is_deleted)
    @rule(kind=KINDS, policy=POLICIES, rules=RULES, has_token=st.booleans())
    def create_again(self, kind: str, policy: str, rules: Rules, has_token: bool) -> None:  # noqa: FBT001
        self.create(kind, policy, rules, has_token=has_token)

    # Time, and the steps

    @rule(seconds=st.sampled_from([1, 10, 100, 700, 4000]))
    def nobody_leads(self, seconds: int) -> None:
        self.tick(seconds)

    @rule(seconds=st.sampled_from([1, 5, 30, 100]), fires=st.booleans())
    def step_the_clock_back(self, seconds: int, fires: bool) -> None:  # noqa: FBT001
        if fires:  # so that moments are decided which then lie ahead
            self.fire(31)
        self.tick(-seconds)

    def tick(self, seconds: int) -> None:
        self.world.run(self.world.tick(timedelta(seconds=seconds)))

    @rule(seconds=st.sampled_from([0, 1, 10, 31, 100]))
    def fire(self, seconds: int) -> None:
        self.tick(seconds)
        self.act_on_all(self.process.end_pauses, Book.end_pauses)
        is_complete = self.process.fire.may_fire_old
        self.act_on_all(self.process.fire_all, partial(Book.fire, is_complete=is_complete))

    @rule()
    def fire_what_is_known(self) -> None:
        self.act_on_all(self.process.fire_at_once, partial(Book.fire, is_complete=False))

    @rule()
    def sweep(self) -> None:
        self.act_on_all(self.process.sweep, Book.sweep)

    @rule()
    def release(self) -> None:
        self.act_on_all(self.process.release.step, Book.release)

    @rule()
    def claim(self) -> None:
        async def work() -> None:
            async with self.world.sessions.session() as conn:
                self.claimed += await claim_executions(conn, self.replica, ["log"], 10)

        self.act(work)

    @rule(state=st.sampled_from(["SUCCEEDED", "FAILED", "CANCELLED"]), retried=st.booleans())
    def complete(self, state: str, retried: bool) -> None:  # noqa: FBT001
        self.act(partial(self._complete, state, 20.0 if retried and state == "FAILED" else None))
        self.claimed = []

    @rule(seconds=st.sampled_from([10, 13, 60]), ends=st.booleans())
    def all_goes_well(self, seconds: int, ends: bool) -> None:  # noqa: FBT001
        """A while as it should be: a moment comes, it runs; and its run ends, or goes on."""
        self.process.fire.allow_old()
        self.fire(seconds)
        self.release()
        self.claim()
        if ends:
            self.complete("SUCCEEDED", retried=False)

    async def _complete(self, state: str, retry_seconds: float | None) -> dict[int, str]:
        now = await self.world.now()
        rows = [
            {
                **{key: claimed[key] for key in ("id", "fire_time", "claim_no", "job_id")},
                "state": state,
                "started_at": claimed["claimed_at"],
                "finished_at": now,
                "duration_ms": 0,
                "abandoned": False,
                "retry_seconds": retry_seconds,
            }
            for claimed in self.claimed
        ]
        async with self.world.sessions.session() as conn:
            return await complete_executions(conn, self.replica, rows)

    # What breaks

    @rule(what=st.sampled_from(["restart", "take_over", "replica_dies", "older_event", "compared"]))
    def something_happens(self, what: str) -> None:
        getattr(self, what)()

    @rule(when=st.sampled_from(["before", "after"]))
    def the_next_write_fails(self, when: str) -> None:
        self.world.leader.fails = when

    def restart(self) -> None:
        """The leader's process forgets all it knew."""
        self.process = Process(self.world, self.living, is_compared=self.process.fire.may_fire_old)

    def take_over(self) -> None:
        """Another leader, which has not compared yet; the old one writes nothing any more."""

        async def work() -> None:
            old = self.world.leader
            self.world.leader = await self.world.take_over()
            with pytest.raises(TermLost):
                async with old.write():
                    raise AssertionError("an older term must not write")

        self.world.run(work())
        self.process = Process(self.world, self.living, is_compared=False)

    def compared(self) -> None:
        """The first compare of the term ends."""
        self.process.fire.allow_old()

    def older_event(self) -> None:
        """It comes late and changes nothing; a pause whose time is over may end by the way."""
        if self.living and self.older is not None and self.older.meta.uid == self.resource.meta.uid:
            uid = self.resource.meta.uid
            self.mirror(Seen(self.older), (uid, self.books[uid].end_pauses))

    def replica_dies(self) -> None:
        """What it ran is lost, or tried again; what it says of it later is not heard."""
        died = "UPDATE scheduler_instance SET dead_at = scheduler_now() WHERE id = %s"
        self.world.run(self.world.rows(died, self.replica))
        self.act(self.process.rescue)
        rows = [row for book in self.books.values() for row in book.rows]
        assert not [row for row in rows if row["state"] == "RUNNING"], rows
        assert self.world.run(self._complete("SUCCEEDED", None)) == {}
        self.claimed, self.replica = [], self.world.run(new_replica(self.world))

    # The end

    def teardown(self) -> None:
        if not self.has_failed:
            self.world.leader.fails = None
            self.process.fire.allow_old()
            self.fire(61)
            self.sweep()
            self.release()
            self.fire(0)
            for book in self.books.values():
                book.hold_all()
            self.world.run(self._verify())

    async def _verify(self) -> None:
        """`scheduledjobs verify` finds nothing amiss either, though it knows no more than the versions and the log."""
        since = timedelta(days=2)
        setting = self.world.clock_setting
        found = await verify(self.world.url, lambda now: now - since, NAMESPACE, None, lambda *_: None, **setting)
        assert not found.findings, found.findings[:5]
        assert found.jobs == len(self.books)
