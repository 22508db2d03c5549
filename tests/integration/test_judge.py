"""Judging anew: what can run, and what no longer can, is found whatever is being mirrored, and however much it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.integration.conftest import KEPT, Stage, resource

from scheduledjobs.steps import judge
from scheduledjobs.steps.inbox import Inbox, Seen
from scheduledjobs.steps.judge import JudgeAgain
from scheduledjobs.steps.mirror import Mirror
from scheduledjobs.steps.mirror_batch import MirrorBatch, Written


@dataclass
class Term:
    """The mirror and the judging anew of one term, and what lies between them."""

    inbox: Inbox
    mirror: Mirror
    judge: JudgeAgain

    async def drain(self) -> None:
        while len(self.inbox):
            await self.mirror.step()


@asynccontextmanager
async def term(stage: Stage) -> AsyncIterator[Term]:
    inbox = Inbox()
    async with stage.leader() as leader:
        hear, get, told = stage.unheard.extend, stage._get, stage._on_written
        mirror = Mirror(leader, inbox, stage.specs, KEPT, stage.judge, get, told, on_unheard=hear)
        yield Term(inbox, mirror, JudgeAgain(leader, inbox, lambda: frozenset(stage.handlers)))


@pytest.mark.parametrize("comes", [True, False])
async def test_a_job_that_is_being_mirrored_as_handlers_change_is_judged_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, comes: bool
) -> None:
    """Its verdict was taken with the handlers of before, and is not yet there for others to see."""
    judged, may_commit = asyncio.Event(), asyncio.Event()
    write = MirrorBatch.write

    async def wait(self: MirrorBatch) -> Written:
        written = await write(self)
        judged.set()
        await may_commit.wait()
        return written

    if comes:
        stage.handlers.discard("log")
    async with term(stage) as now:
        await now.judge.step()
        now.inbox.put(Seen(resource(fixedRate="10s")))
        with monkeypatch.context() as patch:
            patch.setattr(MirrorBatch, "write", wait)
            mirroring = asyncio.create_task(now.mirror.step())
            await judged.wait()
            (stage.handlers.add if comes else stage.handlers.discard)("log")
            judging = asyncio.create_task(now.judge.step())
            while not (judging.done() or now.inbox._awaited):
                await asyncio.sleep(0)
            may_commit.set()
            await asyncio.gather(mirroring, judging)
        await now.drain()
        assert stage.job()["state"] == ("ACTIVE" if comes else "INVALID")
        await now.judge.step()
        assert not len(now.inbox)  # nothing has changed since


async def test_what_cannot_be_mirrored_for_long_holds_up_no_judging(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are judged, again and again until it has been mirrored, and it is judged in its turn."""
    monkeypatch.setattr(judge, "SETTLED_SECONDS", 0.0)
    stage.handlers.discard("log")
    async with term(stage) as now:
        await now.judge.step()
        await stage_one(now, "there")
        stage.handlers.add("log")
        now.inbox.put(Seen(resource("stuck", fixedRate="10s")))
        (stuck,) = now.inbox.take(1)
        for _ in range(2):
            await now.judge.step()
            assert {change.resource.meta.name for change in waiting(now.inbox)} == {"there"}
        now.inbox.put_back([stuck])
        now.inbox.done()
        await now.drain()
        assert [row["state"] for row in stage.rows("SELECT state FROM job_definition")] == ["ACTIVE", "ACTIVE"]
        for _ in range(2):
            await now.judge.step()
        assert not len(now.inbox)


async def stage_one(now: Term, name: str) -> None:
    now.inbox.put(Seen(resource(name, fixedRate="10s")))
    await now.drain()


def waiting(inbox: Inbox) -> list[Seen]:
    return [change for change in inbox._changes.values() if isinstance(change, Seen)]


async def test_however_many_are_to_be_judged_few_are_held_at_a_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once, what 15,000 jobs of a misspelt handler have in their payloads is more than the leader may hold."""
    monkeypatch.setattr(judge, "PAGE", 2, raising=False)
    monkeypatch.setattr(judge, "MOST_WAITING", 2, raising=False)
    stage.handlers.discard("log")
    most = 0
    async with term(stage) as now:
        await now.judge.step()
        for number in range(9):
            now.inbox.put(Seen(resource(f"job-{number}", fixedRate="10s")))
        await now.drain()
        assert states(stage) == {"INVALID": 9}
        stage.handlers.add("log")
        monkeypatch.setattr("scheduledjobs.steps.mirror.BATCH", 1)
        judging = asyncio.create_task(now.judge.step())
        while not judging.done() or len(now.inbox):
            most = max(most, len(now.inbox))
            await now.mirror.step()
            await asyncio.sleep(0)
        await judging
        assert states(stage) == {"ACTIVE": 9}
    assert most <= 3  # a page more than what lets the next in


def states(stage: Stage) -> dict[str, int]:
    return dict(Counter(row["state"] for row in stage.rows("SELECT state FROM job_definition")))
