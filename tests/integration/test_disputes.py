"""Disputes: two uids under one name, in a namespace where no GET may say which of them lives; and how the inbox has
them wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog
from tests.integration.conftest import KEPT, Stage, resource

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import Forbidden
from scheduledjobs.steps.inbox import Gone, Inbox, Seen
from scheduledjobs.steps.mirror import DISPUTE_SECONDS, Mirror

PAIRS = [("a", "one"), ("a", "two"), ("b", "one")]


def named(namespace: str, name: str, resource_version: int = 1) -> Resource:
    found = resource(name, fixedRate="10s", resource_version=resource_version)
    return replace(found, meta=replace(found.meta, namespace=namespace))


class Disputed:
    """A job of each name that the mirror has and the cluster no more, with another one in its place."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.inbox = Inbox()
        self.now = 0.0
        self.old = [named(*pair) for pair in PAIRS]
        self.living = {pair: named(*pair, resource_version=5) for pair in PAIRS}
        self.refused = {"a"}
        self.asked: list[str] = []

    @asynccontextmanager
    async def mirror(self) -> AsyncIterator[Mirror]:
        """A mirror that has come upon all the disputes in one batch."""
        stage = self.stage
        await stage.mirror(*self.old)
        for found in self.living.values():
            self.inbox.put(Seen(found))
        async with stage.leader() as leader:
            hear = stage.unheard.extend
            yield Mirror(
                leader,
                self.inbox,
                stage.specs,
                KEPT,
                stage.judge,
                self._get,
                stage._on_written,
                on_unheard=hear,
                monotonic=lambda: self.now,
            )

    async def _get(self, namespace: str, name: str) -> Resource:
        self.asked.append(namespace)
        if namespace in self.refused:
            raise Forbidden("GET: 403", 403)
        return self.living[namespace, name]

    def settled(self) -> list[tuple[str, str]]:
        """The names whose living object the mirror has."""
        rows = self.stage.rows("SELECT id FROM job_definition WHERE state = 'ACTIVE'")
        uids = {row["id"] for row in rows}
        return [pair for pair in PAIRS if self.living[pair].meta.uid in uids]


async def mirror_all(mirror: Mirror, inbox: Inbox) -> None:
    while await mirror.step() == 0.0 or len(inbox):
        pass


async def test_a_dispute_in_a_refused_namespace_holds_up_no_other_and_is_settled_once_it_may_be(stage: Stage) -> None:
    disputed = Disputed(stage)
    async with disputed.mirror() as mirror:
        with structlog.testing.capture_logs() as logs:
            await mirror_all(mirror, disputed.inbox)
        assert disputed.settled() == [("b", "one")]
        told = [(log["namespace"], log["error"]) for log in logs if log["event"] == "a dispute is put off"]
        assert told == [("a", "GET: 403")]  # once for all of that namespace
        disputed.refused.clear()
        await mirror_all(mirror, disputed.inbox)
        assert disputed.settled() == [("b", "one")]
        disputed.now += DISPUTE_SECONDS
        await mirror_all(mirror, disputed.inbox)
    assert disputed.settled() == PAIRS


async def test_a_refused_dispute_is_asked_for_at_its_own_pace_and_nobody_waits_for_it(stage: Stage) -> None:
    """A pass that failed for it would wait for a second, and a take-over for all that is older than its grace."""
    disputed, mirrored = Disputed(stage), list[bool]()
    async with disputed.mirror() as mirror:
        disputed.inbox.once_mirrored(lambda: mirrored.append(True))
        await mirror_all(mirror, disputed.inbox)
        assert mirrored == [True]
        for number in range(3):
            disputed.inbox.put(Seen(resource(f"another-{number}")))
            await mirror_all(mirror, disputed.inbox)
        assert disputed.asked.count("a") == 1
        assert {"another-0", "another-1", "another-2"} <= {
            row["name"] for row in stage.rows("SELECT name FROM job_definition")
        }
        for _ in range(2):
            disputed.now += DISPUTE_SECONDS
            await mirror_all(mirror, disputed.inbox)
        assert disputed.asked.count("a") == 3


async def test_a_refused_dispute_ends_with_its_object(stage: Stage) -> None:
    """Put off it must not come back later, when the name is free: it would be a job without a resource."""
    disputed = Disputed(stage)
    async with disputed.mirror() as mirror:
        await mirror_all(mirror, disputed.inbox)
        for found in (*disputed.old, *disputed.living.values()):
            disputed.inbox.put(Gone(found.meta.uid, found.meta.namespace, found.meta.name))
        await mirror_all(mirror, disputed.inbox)
        disputed.now += DISPUTE_SECONDS
        await mirror_all(mirror, disputed.inbox)
    assert disputed.settled() == []


def test_what_is_put_aside_is_on_its_way_and_nobody_waits_for_it() -> None:
    inbox, seen, said = Inbox(), resource(), list[bool]()
    inbox.put(Seen(seen))
    inbox.once_mirrored(lambda: said.append(True))
    inbox.put_aside(inbox.take(9), 30.0)
    inbox.done()
    assert (said, inbox.take(9)) == ([True], [])
    assert inbox.waiting() == {seen.meta.uid}  # or a compare would tell of it as of a change that the watch has missed


def test_what_is_put_aside_comes_back_at_its_time_or_with_what_comes_of_it() -> None:
    inbox, first, second = Inbox(), Seen(resource("first")), Seen(resource("second"))
    inbox.put_aside([first], 30.0)
    inbox.put_aside([second], 31.0)
    inbox.take_up(29.9)
    assert inbox.take(9) == []
    inbox.take_up(30.0)
    assert inbox.take(9) == [first]
    edited = Seen(replace(second.resource, meta=replace(second.resource.meta, resource_version=9)))
    inbox.put(edited)
    inbox.take_up(31.0)
    assert inbox.take(9) == [edited]
    assert inbox.waiting() == {change.resource.meta.uid for change in (first, edited)}
    inbox.done()
    assert inbox.waiting() == set()


def test_what_has_come_while_it_was_in_hand_is_not_put_aside() -> None:
    inbox, seen = Inbox(), resource()
    inbox.put(Seen(seen))
    taken = inbox.take(9)
    inbox.put(Seen(seen, is_quorum=True))
    inbox.put_aside(taken, 30.0)
    assert inbox.take(9) == [Seen(seen, is_quorum=True)]
    inbox.take_up(30.0)
    assert inbox.take(9) == []
