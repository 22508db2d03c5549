"""Attempts: how they end, whatever job code does."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from pydantic import BaseModel
from tests.unit.assigned import assigned

from scheduledjobs import errors
from scheduledjobs.core.backoff import FINAL
from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.errors import CredentialError, Permanent
from scheduledjobs.handlers import Execution, Handler, Registry, execution, runner
from scheduledjobs.handlers.assignment import Assignment, Ending, Stop
from scheduledjobs.handlers.execution import Output, hide
from scheduledjobs.handlers.registry import AnyPayload
from scheduledjobs.handlers.runner import Runner


class Bench:
    """A runner with handlers made on the spot."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.endings: asyncio.Queue[Ending] = asyncio.Queue()
        self.returned: asyncio.Queue[Assignment] = asyncio.Queue()
        self.deliveries: list[int] = []
        self.may_begin = True
        self.runner = Runner(self.registry, 4, self._on_end, self._on_return, may_begin=lambda: self.may_begin)
        self.runner.start()
        self._number = 0

    def _on_end(self, endings: Any) -> None:
        self.deliveries.append(len(endings))
        for ending in endings:
            self.endings.put_nowait(ending)

    def _on_return(self, assignments: Any) -> None:
        for assignment in assignments:
            self.returned.put_nowait(assignment)

    def begin(
        self,
        function: Callable[..., Any],
        *,
        timeout: float | None = None,
        model: type[BaseModel] = AnyPayload,
        survives: bool = False,
        started_at: datetime | None = None,
        noted: Any = None,
        logged: tuple[str, bool] | None = None,
        stop: Stop | None = None,
        **payload: Any,
    ) -> Assignment:
        self._number += 1
        name = f"handler-{self._number}"
        is_async = asyncio.iscoroutinefunction(function)
        self.registry.add(Handler(name, function, model, is_async, survives=survives))
        given = assigned(
            self._number,
            name,
            payload=payload,
            timeout=None if timeout is None else timedelta(seconds=timeout),
            started_at=started_at,
            noted=noted,
            logged=logged,
            stop=stop,
        )
        self.runner.submit([given])
        return given

    async def run(self, function: Callable[..., Any], **options: Any) -> Ending:
        self.begin(function, **options)
        return await asyncio.wait_for(self.endings.get(), 5)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.runner.close()


async def test_an_async_handler_succeeds_with_its_result(bench: Bench) -> None:
    async def handle(execution: Execution, payload: Any) -> dict[str, Any]:
        return {"key": execution.idempotency_key, "n": payload.n}

    ending = await bench.run(handle, n=3)
    assert (ending.state, ending.reason) == (State.SUCCEEDED, Reason.SUCCESS)
    assert ending.result == b'{"key":"00000000-0000-0000-0000-000000000001/2026-11-23T12:00:00.000Z/","n":3}'
    assert bench.runner.free_slots == 4


async def test_a_sync_handler_runs_in_a_thread_of_its_own(bench: Bench) -> None:
    def handle(_execution: Execution, _payload: Any) -> str:
        return threading.current_thread().name

    assert b"handler" in ((await bench.run(handle)).result or b"")


@pytest.mark.parametrize(
    "error", [ValueError("no such table\nat all"), SystemExit(3), KeyboardInterrupt(), MemoryError()]
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_a_handler_raises_the_replica_lives(bench: Bench, error: BaseException, is_async: bool) -> None:  # noqa: FBT001
    async def handle_async(_execution: Execution, _payload: Any) -> None:
        raise error

    def handle(_execution: Execution, _payload: Any) -> None:
        raise error

    ending = await bench.run(handle_async if is_async else handle)
    assert (ending.state, ending.reason) == (State.FAILED, Reason.ERROR)
    assert ending.message is not None
    assert ending.message.startswith(type(error).__name__)
    assert "\n" not in ending.message
    assert (await bench.run(_fine)).state is State.SUCCEEDED


async def _fine(_execution: Execution, _payload: Any) -> None:
    return None


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("error", [FileNotFoundError("no file \udcff"), ValueError("a\0b"), Unprintable()])
async def test_what_a_handler_says_can_be_written_whatever_it_says(bench: Bench, error: Exception) -> None:
    async def handle(execution: Execution, _payload: Any) -> None:
        execution.logger.info("read \udcff")
        raise error

    ending = await bench.run(handle)
    assert ending.state is State.FAILED
    for text in (ending.message, ending.traceback, ending.output):
        assert text
        assert "\0" not in text
        text.encode()  # no lone surrogates


async def test_an_attempt_that_is_stopped_before_it_began_frees_its_slot(bench: Bench) -> None:
    begun, held, ran = threading.Event(), threading.Event(), threading.Event()

    async def block(_execution: Execution, _payload: Any) -> None:
        begun.set()
        held.wait(5)

    def late(_execution: Execution, _payload: Any) -> None:
        ran.set()

    bench.begin(block)
    assert begun.wait(5)  # the loop stands still: what is begun and stopped now, it sees at once
    assignment = bench.begin(late)
    bench.runner.stop_attempt(assignment.id, 1, Stop(State.CANCELLED, Reason.REPLACED, "a newer run took its place"))
    held.set()
    ends = [await asyncio.wait_for(bench.endings.get(), 5) for _ in range(2)]
    (stopped,) = [ending for ending in ends if ending.assignment is assignment]
    assert (stopped.state, stopped.abandoned) == (State.CANCELLED, False)
    assert bench.runner.free_slots == 4
    assert not ran.is_set()


async def test_recursion_without_end_fails_that_attempt_alone(bench: Bench) -> None:
    async def handle(_execution: Execution, _payload: Any) -> None:
        def deeper(n: int) -> int:
            return deeper(n + 1)

        deeper(0)

    assert "RecursionError" in ((await bench.run(handle)).message or "")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_a_task_of_a_handler_that_ends_the_loop_ends_that_attempt_alone(
    bench: Bench, error: BaseException
) -> None:
    async def child() -> None:
        raise error

    async def handle(_execution: Execution, _payload: Any) -> None:
        await asyncio.gather(asyncio.create_task(child()))

    async def stop(_execution: Execution, _payload: Any) -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)

    assert (await bench.run(handle)).state is State.FAILED
    assert (await bench.run(stop)).state is State.SUCCEEDED


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_iterator_that_is_empty_fails_that_attempt(bench: Bench, is_async: bool) -> None:  # noqa: FBT001
    async def handle_async(_execution: Execution, _payload: Any) -> None:
        next(iter([]))

    def handle_sync(_execution: Execution, _payload: Any) -> None:
        next(iter([]))

    ending = await bench.run(handle_async if is_async else handle_sync)
    assert (ending.state, ending.message) == (State.FAILED, "RuntimeError: coroutine raised StopIteration")
    assert bench.runner.free_slots == 4


async def test_an_error_that_ends_whoever_prints_it_fails_that_attempt_alone(bench: Bench) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            sys.exit(3)

    async def handle(_execution: Execution, _payload: Any) -> None:
        raise Unspeakable

    ending = await bench.run(handle)
    assert (ending.state, ending.message) == (State.FAILED, "Unspeakable: it cannot be printed")


async def test_permanent_says_so(bench: Bench) -> None:
    async def handle(_execution: Execution, _payload: Any) -> None:
        raise Permanent("the account is closed")

    assert (await bench.run(handle)).reason is Reason.PERMANENT_ERROR


async def test_retry_names_its_delay(bench: Bench) -> None:
    async def handle(_execution: Execution, _payload: Any) -> None:
        raise errors.Retry(timedelta(seconds=7), "the queue is full")

    ending = await bench.run(handle)
    assert (ending.state, ending.reason, ending.retry_after) == (State.FAILED, Reason.ERROR, timedelta(seconds=7))


class Delayed(errors.Retry):
    """A Retry of somebody who sets its delay himself."""

    def __init__(self, delay: Any) -> None:
        super().__init__(timedelta(seconds=1))
        self.delay = delay


@pytest.mark.parametrize("delay", [30, "30s", None, timedelta(seconds=-1), timedelta(days=31)], ids=repr)
async def test_a_delay_that_is_none_is_ignored_and_that_is_said(bench: Bench, delay: Any) -> None:
    async def handle(_execution: Execution, _payload: Any) -> None:
        raise Delayed(delay)

    ending = await bench.run(handle)
    assert (ending.state, ending.reason, ending.retry_after) == (State.FAILED, Reason.ERROR, None)
    assert ending.output.endswith("the delay of Retry must be a timedelta between 0 and 30 days: it is ignored")


class BareRetry(errors.Retry):
    def __init__(self) -> None:
        """Without the base's."""


class BareFailed(errors.Failed):
    def __init__(self) -> None:
        """Without the base's."""


class OddSpecError(errors.SpecError):
    def __init__(self) -> None:
        self.reason, self.message = object(), object()  # type: ignore[assignment]


class Closed(errors.Failed):
    @property  # type: ignore[misc]
    def is_permanent(self) -> bool:  # type: ignore[override]
        sys.exit(3)

    @is_permanent.setter
    def is_permanent(self, value: bool) -> None: ...


@pytest.mark.parametrize(
    "error", [BareRetry(), BareFailed(), OddSpecError(), Closed("no")], ids=lambda e: type(e).__name__
)
async def test_an_error_that_its_class_left_without_what_is_read_of_it_fails_that_attempt(
    bench: Bench, error: Exception
) -> None:
    async def handle(_execution: Execution, _payload: Any) -> None:
        raise error

    ending = await bench.run(handle)
    assert (ending.state, ending.reason, ending.retry_after) == (State.FAILED, Reason.ERROR, None)
    assert (ending.message or "").startswith(type(error).__name__)
    assert bench.runner.free_slots == 4


async def test_an_async_handler_is_cancelled_at_its_timeout(bench: Bench) -> None:
    async def handle(_execution: Execution, _payload: Any) -> None:
        await asyncio.sleep(60)

    ending = await bench.run(handle, timeout=0.05)
    assert (ending.state, ending.reason, ending.abandoned) == (State.TIMED_OUT, Reason.TIMEOUT_EXCEEDED, False)


async def test_a_sync_handler_that_times_out_keeps_its_slot_until_it_returns(bench: Bench) -> None:
    release = threading.Event()

    def handle(execution: Execution, _payload: Any) -> None:
        assert execution.stopping.wait(5)
        release.wait(5)

    ending = await bench.run(handle, timeout=0.05)
    assert (ending.state, ending.abandoned) == (State.TIMED_OUT, True)
    assert bench.runner.free_slots == 3
    release.set()
    assert (await asyncio.wait_for(bench.returned.get(), 5)).id == ending.assignment.id
    assert bench.runner.free_slots == 4


async def test_an_async_handler_that_ignores_its_cancel_for_five_seconds_is_abandoned(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runner.CANCEL_SECONDS == 5.0
    monkeypatch.setattr(runner, "CANCEL_SECONDS", 0.05)
    release = threading.Event()

    async def handle(_execution: Execution, _payload: Any) -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    ending = await bench.run(handle, timeout=0.05)
    assert (ending.state, ending.abandoned) == (State.TIMED_OUT, True)
    assert bench.runner.free_slots == 3
    release.set()
    assert (await asyncio.wait_for(bench.returned.get(), 5)).id == ending.assignment.id
    assert bench.runner.free_slots == 4


async def test_an_attempt_that_was_stopped_is_not_kept_until_its_timeout(bench: Bench) -> None:
    begun = threading.Event()

    async def handle(_execution: Execution, _payload: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    assignment = bench.begin(handle, timeout=3600)
    assert await asyncio.to_thread(begun.wait, 5)
    kept = weakref.ref(cast("asyncio.Task[None]", bench.runner._attempts[assignment.key].task))
    bench.runner.stop_attempt(assignment.id, 1, Stop(State.CANCELLED, Reason.CANCEL_REQUESTED, "cancelled by somebody"))
    assert (await asyncio.wait_for(bench.endings.get(), 5)).state is State.CANCELLED
    async with asyncio.timeout(5):
        while kept() is not None:
            gc.collect()
            await asyncio.sleep(0.001)


async def test_a_handler_that_blocks_its_loop_does_not_block_ours(bench: Bench) -> None:
    release = threading.Event()

    async def handle(_execution: Execution, _payload: Any) -> None:
        release.wait(5)  # an async handler must not do this; one day one does

    bench.begin(handle)
    await asyncio.sleep(0)
    assert bench.endings.empty()
    release.set()
    assert (await asyncio.wait_for(bench.endings.get(), 5)).state is State.SUCCEEDED


async def test_what_has_not_begun_on_a_blocked_loop_can_be_taken_back_and_never_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runner.BLOCKED_SECONDS == 1.0
    monkeypatch.setattr(runner, "BLOCKED_SECONDS", 0.05)
    started, release, ran = threading.Event(), threading.Event(), threading.Event()

    async def block(_execution: Execution, _payload: Any) -> None:
        started.set()
        release.wait(5)

    async def other(_execution: Execution, _payload: Any) -> None:
        ran.set()

    first = bench.begin(block)
    await asyncio.to_thread(started.wait, 5)
    second, third = bench.begin(other), bench.begin(other)
    bench.runner.stop_attempt(third.id, third.claim_no, Stop(State.CANCELLED, Reason.CANCEL_REQUESTED, "cancelled"))
    while not bench.runner.is_blocked():
        await asyncio.sleep(0.01)
    assert bench.runner.take_back() == [second, third]
    assert bench.runner.take_back() == []
    assert list(bench.runner.running) == [first]
    release.set()
    assert (await asyncio.wait_for(bench.endings.get(), 5)).assignment == first
    while bench.runner.is_blocked():
        await asyncio.sleep(0.01)
    assert bench.endings.empty()
    assert not ran.is_set()
    assert (await bench.run(other)).state is State.SUCCEEDED


async def test_stopping_ends_every_attempt_as_told(bench: Bench) -> None:
    started = threading.Event()

    async def handle(_execution: Execution, _payload: Any) -> None:
        started.set()
        await asyncio.sleep(60)

    bench.begin(handle)
    await asyncio.to_thread(started.wait, 5)
    bench.runner.stop_attempts(Stop(State.LOST, Reason.DRAINED, "the replica stopped"))
    ending = await asyncio.wait_for(bench.endings.get(), 5)
    assert (ending.state, ending.reason) == (State.LOST, Reason.DRAINED)


async def test_a_payload_that_does_not_fit_fails_before_the_handler_runs(bench: Bench) -> None:
    class Model(BaseModel):
        number: int

    async def handle(_execution: Execution, payload: Model) -> None:
        raise AssertionError("must not run")

    ending = await bench.run(handle, model=Model, number="secret-value")
    assert (ending.state, ending.reason) == (State.FAILED, Reason.INVALID_PAYLOAD)
    assert "spec.payload.number" in (ending.message or "")
    assert "secret-value" not in (ending.message or "")


async def test_what_a_handler_logs_is_its_output(bench: Bench) -> None:
    def handle(execution: Execution, _payload: Any) -> None:
        execution.logger.info("from its logger %s", 1)
        logging.getLogger("some.library").warning("from a library\0")

    output = (await bench.run(handle)).output
    assert "INFO from its logger 1" in output
    assert "WARNING from a library" in output
    assert "\0" not in output


async def test_what_a_handler_logs_by_any_logger_is_not_in_the_log_of_the_replica(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []

    class Ours(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    monkeypatch.setattr(logging.getLogger(), "handlers", [Ours()])
    monkeypatch.setattr(execution.logger, "handlers", [])
    bench = Bench()

    async def handle(_execution: Execution, _payload: Any) -> None:
        logging.getLogger("some.library").warning("said in an attempt")

    assert "said in an attempt" in (await bench.run(handle)).output
    logging.getLogger("some.library").warning("said by the replica")
    await bench.runner.close()
    assert lines == ["said by the replica"]


async def test_output_keeps_its_tail(bench: Bench) -> None:
    def handle(execution: Execution, _payload: Any) -> None:
        for number in range(3000):
            execution.logger.info("%s %s", number, "x" * 100)

    ending = await bench.run(handle)
    assert ending.output_truncated
    assert len(ending.output) <= 64 * 1024
    assert "2999" in ending.output


async def test_a_result_that_is_too_long_is_cut_and_marked(bench: Bench) -> None:
    async def handle(_execution: Execution, _payload: Any) -> str:
        return "y\0" * 50_000

    result = (await bench.run(handle)).result or b""
    assert result.startswith(b'{"truncated":true')
    assert len(result) <= 16 * 1024
    assert b"\\u0000" not in result


async def test_a_result_that_is_not_json_fails(bench: Bench) -> None:
    async def handle(_execution: Execution, _payload: Any) -> object:
        return object()

    assert "not a JSON value" in ((await bench.run(handle)).message or "")


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer makes it slower")
async def test_no_more_attempts_begin_than_there_are_slots(bench: Bench) -> None:
    release = threading.Event()

    def handle(_execution: Execution, _payload: Any) -> None:
        release.wait(5)

    for _ in range(4):
        bench.begin(handle)
    assert bench.runner.free_slots == 0
    release.set()
    for _ in range(4):
        await asyncio.wait_for(bench.endings.get(), 5)
    assert bench.runner.free_slots == 4


def test_output_is_news_once() -> None:
    output = Output()
    assert output.news() is None
    output.add("one")
    assert output.news() == "one"
    assert output.news() is None
    output.add("two")
    assert output.news() == "one\ntwo"
    output.again()
    assert output.news() == "one\ntwo"
    assert output.news() is None


async def test_what_abandoned_code_logs_is_no_news(bench: Bench) -> None:
    logged, release = threading.Event(), threading.Event()

    def handle(execution: Execution, _payload: Any) -> None:
        execution.stopping.wait(5)
        execution.logger.info("too late")
        logged.set()
        release.wait(5)

    assert (await bench.run(handle, timeout=0.05)).abandoned
    assert await asyncio.to_thread(logged.wait, 5)
    assert bench.runner.outputs(0.0, 10, set()) == []  # its row has ended: each write of it would be in vain
    release.set()


async def test_what_was_claimed_before_its_trust_was_gone_is_not_begun(bench: Bench) -> None:
    begun = []

    async def note(_: Execution, __: BaseModel) -> None:
        begun.append(1)

    bench.may_begin = False
    bench.begin(note)
    while bench.runner.running:
        await asyncio.sleep(0)
    bench.may_begin = True
    bench.begin(note)
    ending = await bench.endings.get()
    assert (ending.assignment.id, begun) == (2, [1])


SECRET = "canary-of-a-credential"


async def test_what_a_credential_held_is_not_in_what_the_attempt_leaves(bench: Bench) -> None:
    async def succeed(execution: Execution, _: Any) -> dict[str, Any]:
        hide(SECRET)
        execution.logger.info("sent %s", SECRET)
        return {"sent": f"Bearer {SECRET}"}

    def fail(_: Execution, __: Any) -> None:
        hide(SECRET)
        raise ValueError("x" * 490 + SECRET + "y" * (16 * 1024 - 6))  # message and traceback are cut amid it

    ending = await bench.run(succeed)
    assert ending.result == b'{"sent":"Bearer ***"}'
    assert ending.output.endswith("INFO sent ***")
    ending = await bench.run(fail)
    assert "x***y" in (ending.message or "")
    for text in (ending.message, ending.output, ending.traceback):
        assert text
        assert "cana" not in text
        assert "tial" not in text


async def test_a_credential_that_cannot_be_read_fails_and_is_tried_again(bench: Bench) -> None:
    async def handle(_: Execution, __: Any) -> None:
        raise CredentialError("credential 'reports': the key 'token' is missing")

    ending = await bench.run(handle)
    assert (ending.state, ending.reason) == (State.FAILED, Reason.ERROR)
    assert ending.message == "CredentialError: credential 'reports': the key 'token' is missing"
    assert ending.reason not in FINAL


async def test_what_ends_in_one_turn_of_the_loop_is_told_at_once(bench: Bench) -> None:
    """The main loop is woken once for them all: woken for each, it takes the interpreter from those that still run."""

    async def handle(execution: Execution, payload: Any) -> None: ...

    first = bench.begin(handle)
    await asyncio.wait_for(bench.endings.get(), 5)
    bench.deliveries.clear()
    bench.runner.submit([replace(first, id=number) for number in range(10, 14)])
    for _ in range(4):
        await asyncio.wait_for(bench.endings.get(), 5)
    assert bench.deliveries == [4]


async def test_a_loop_that_a_handler_blocks_keeps_no_ending_back(bench: Bench) -> None:
    begun, let_go = threading.Event(), threading.Event()

    async def end(execution: Execution, payload: Any) -> None: ...

    async def block(execution: Execution, payload: Any) -> None:
        begun.set()
        let_go.wait(5)

    ends, blocks = Handler("end", end, AnyPayload, True), Handler("block", block, AnyPayload, True)
    bench.registry.add(ends)
    bench.registry.add(blocks)
    like = bench.begin(end)
    await asyncio.wait_for(bench.endings.get(), 5)
    # In one turn of the loop: the first has ended when the second blocks it.
    bench.runner.submit([replace(like, id=20, handler="end"), replace(like, id=21, handler="block")])
    await asyncio.to_thread(begun.wait, 5)
    assert bench.endings.empty()
    bench.runner.is_blocked()
    assert bench.endings.get_nowait().assignment.id == 20
    let_go.set()
    assert (await asyncio.wait_for(bench.endings.get(), 5)).assignment.id == 21
