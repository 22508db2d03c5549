"""What the API server said: believed for a minute, longer only while it does not answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from scheduledjobs.errors import KubeUnavailable, NotAuthenticated
from scheduledjobs.kube.believed import FRESH_SECONDS, OUTAGE_SECONDS, PAUSE_SECONDS, Believed, Doubt, Line
from scheduledjobs.kube.caller import expiry


@dataclass
class Asked:
    """An API server and a clock in the test's hand."""

    now: float = 1000.0
    count: int = 0
    answer: str | Exception = "yes"
    doubt: Doubt = field(default_factory=Doubt)
    gate: asyncio.Event | None = None

    def __post_init__(self) -> None:
        self.line = Line(lambda: self.now)
        self.question = self.another()

    def another(self) -> Believed[str]:
        return Believed(self.line, self.doubt, self._ask)

    async def _ask(self) -> str:
        self.count += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


AWAY = KubeUnavailable("no route")
BUSY = KubeUnavailable("too many requests", 429)


async def test_an_answer_is_believed_for_a_minute_and_not_longer() -> None:
    asked = Asked()
    assert await asked.question.get() == "yes"
    asked.answer, asked.now = "no", asked.now + FRESH_SECONDS - 0.1
    assert (await asked.question.get(), asked.count) == ("yes", 1)
    asked.now += 0.1
    assert (await asked.question.get(), asked.count) == ("no", 2)


async def test_the_minute_begins_when_the_question_goes_out() -> None:
    asked = Asked(gate=asyncio.Event())
    first = asyncio.create_task(asked.question.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked.now += FRESH_SECONDS
    assert asked.gate is not None
    asked.gate.set()
    await first
    await asked.question.get()
    assert asked.count == 2


async def test_many_who_wait_for_one_answer_ask_once() -> None:
    asked = Asked(gate=asyncio.Event())
    waiting = [asyncio.create_task(asked.question.get()) for _ in range(20)]
    await asyncio.sleep(0)
    assert asked.gate is not None
    asked.gate.set()
    assert await asyncio.gather(*waiting) == ["yes"] * 20
    assert asked.count == 1


async def test_one_who_hangs_up_takes_the_answer_from_nobody() -> None:
    asked = Asked(gate=asyncio.Event())
    first, second = (asyncio.create_task(asked.question.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert asked.gate is not None
    asked.gate.set()
    assert (await second, asked.count) == ("yes", 1)


@pytest.mark.parametrize("error", [AWAY, BUSY])
async def test_in_an_outage_what_is_known_counts_for_five_minutes_more(error: KubeUnavailable) -> None:
    asked = Asked()
    await asked.question.get()
    assert asked.doubt.since is None
    asked.answer, asked.now = error, asked.now + FRESH_SECONDS + OUTAGE_SECONDS - 0.1
    assert await asked.question.get() == "yes"
    assert asked.doubt.since is not None
    asked.now += 0.1
    with pytest.raises(KubeUnavailable):
        await asked.question.get()


async def test_the_doubt_ends_with_the_next_answer() -> None:
    asked = Asked()
    await asked.question.get()
    asked.answer, asked.now = AWAY, asked.now + FRESH_SECONDS
    await asked.question.get()
    asked.answer, asked.now = "no", asked.now + PAUSE_SECONDS
    assert await asked.question.get() == "no"
    assert asked.doubt.since is None


async def test_a_refusal_counts_at_once_and_nothing_stands_in_for_it() -> None:
    asked = Asked()
    await asked.question.get()
    asked.answer, asked.now = NotAuthenticated("expired"), asked.now + FRESH_SECONDS
    with pytest.raises(NotAuthenticated):
        await asked.question.get()


async def test_after_a_try_in_vain_nobody_tries_for_two_seconds() -> None:
    asked = Asked(answer=AWAY)
    other = asked.another()
    for question in (asked.question, other, asked.question):
        with pytest.raises(KubeUnavailable):
            await question.get()
    assert asked.count == 1
    asked.answer, asked.now = "yes", asked.now + PAUSE_SECONDS
    assert (await other.get(), asked.count) == ("yes", 2)


async def test_a_server_that_is_only_busy_is_asked_for_others_at_once() -> None:
    asked = Asked(answer=BUSY)
    with pytest.raises(KubeUnavailable):
        await asked.question.get()
    asked.answer = "yes"
    assert await asked.another().get() == "yes"


def test_a_token_tells_when_it_expires_and_anything_else_never_does() -> None:
    assert expiry("e30.eyJleHAiOjEyM30.x") == 123
    for token in ("", "a.b", "e30.e30.x", "a.%%%.c", "e30.eyJleHAiOltdfQ.x", "a.WzFd.c", "a.MQ.c", "é.é.é"):
        assert expiry(token) == float("inf"), token
