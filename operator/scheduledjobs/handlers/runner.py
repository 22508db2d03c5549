"""Run attempts: async handlers on an event loop in a thread of its own, sync ones in worker threads.

The main loop, with its heartbeats and leases, must not notice a handler that blocks. So everything crosses between
the threads in batches, one wake-up for many. A slot is taken from `submit` until the attempt's code has returned,
whatever the log already says of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.core.result import NotJson, encode_result, plain
from scheduledjobs.errors import Failed, Permanent, Retry, SpecError
from scheduledjobs.handlers import tracing
from scheduledjobs.handlers.assignment import Assignment, Ending, Key, Stop
from scheduledjobs.handlers.attempt import Attempt, CannotGoOn, NotBegun, execution_of, outcome, payload_of
from scheduledjobs.handlers.describing import LONGEST_TRACEBACK, delay_of, describe, trace_of
from scheduledjobs.handlers.execution import Output, captured, install_capture
from scheduledjobs.handlers.forks import Guarded, Threads, guard
from scheduledjobs.handlers.registry import Registry
from scheduledjobs.handlers.threads import HandlersLoop

log = structlog.get_logger(__name__)

BLOCKED_SECONDS = 1.0
CANCEL_SECONDS = 5.0
LAST_SECONDS = 1.0
LONGEST_MESSAGE = 512
LEFT_FOR = timedelta(seconds=30)
"""How long what cannot be gone on with here is left to others, before it may be claimed here again."""

Logged = tuple[Assignment, str, bool, Callable[[], None]]
"""What an attempt has logged, whether it was cut, and how to have it returned again."""


class Runner:
    """The slots of one replica."""

    def __init__(
        self,
        registry: Registry,
        slots: int,
        on_end: Callable[[Sequence[Ending]], None],
        on_return: Callable[[Sequence[Assignment]], None],
        monotonic: Callable[[], float] = time.monotonic,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        """`on_end` (attempts ended) and `on_return` (abandoned ones returned) are called on the loop of `start`.
        `may_begin` is asked before each start: a process that was frozen begins nothing that it had claimed before."""
        self._registry = registry
        self._slots = slots
        self._on_end = on_end
        self._on_return = on_return
        self._monotonic = monotonic
        self._may_begin = may_begin
        self._held: dict[tuple[int, int], Assignment] = {}
        self._unbegun: dict[tuple[int, int], Assignment] = {}
        self._asked_at: float | None = None
        self._attempts: dict[tuple[int, int], Attempt] = {}
        self._news: deque[Ending | Assignment] = deque()
        self._is_posted = False
        self._loop = HandlersLoop(slots)
        self._main: asyncio.AbstractEventLoop | None = None
        self._loop.set_task_factory(_guarded_task)
        self._threads = Threads(slots, thread_name_prefix="handler")
        self._thread = threading.Thread(target=self._keep_running, name="handlers", daemon=True)
        self._is_closing = False

    def start(self) -> None:
        """Start the handlers' loop; call it on the main loop."""
        install_capture()
        guard.set_up()
        self._main = asyncio.get_running_loop()
        self._thread.start()

    @property
    def free_slots(self) -> int:
        """How many more attempts may begin."""
        return self._slots - len(self._held)

    @property
    def running(self) -> Collection[Assignment]:
        """What takes a slot now."""
        return self._held.values()

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Begin attempts; call it on the main loop, with no more than there are free slots."""
        for assignment in assignments:
            self._held[assignment.key] = self._unbegun[assignment.key] = assignment
        self._loop.call_soon_threadsafe(self._begin, list(assignments))

    def is_blocked(self) -> bool:
        """Return whether the handlers' loop has not answered for a while; each call asks it."""
        if self._news:
            self._deliver()
        asked_at = self._asked_at  # read once: the answer may come at any moment
        if asked_at is not None:
            return self._monotonic() - asked_at > BLOCKED_SECONDS
        self._asked_at = self._monotonic()
        self._loop.call_soon_threadsafe(self._answer)
        return False

    def outputs(self, seconds: float, most: int, shown: Set[Key]) -> list[Logged]:
        """Return what attempts that have run for so long have logged, where that is new.

        At most `most` of them, and none of `shown`, which have had their turn. Of abandoned ones the log has the end.
        """
        found: list[Logged] = []
        for key, one in list(self._attempts.items()):  # at one go, since the handlers' loop changes it
            is_asked = len(found) < most and key not in shown and not one.has_ended
            if is_asked and self._monotonic() - one.started >= seconds:
                text = one.output.news()
                if text is not None:
                    found.append((one.assignment, text, one.output.is_truncated, one.output.again))
        return found

    def notes(self) -> list[tuple[Assignment, bytes, Callable[[], None]]]:
        """Return what attempts have noted since the last call, as JSON; and for each how to have it returned again."""
        news = [one for one in list(self._attempts.values()) if one.execution.note.news() is not None]
        noted = ((one, one.encoded_note()) for one in news)
        return [(one.assignment, note, one.execution.note.again) for one, note in noted if note is not None]

    def take_back(self) -> list[Assignment]:
        """Return the attempts that have not begun, and never will now: to be called where the loop is blocked."""
        taken = [self._unbegun.pop(key, None) for key in list(self._unbegun)]
        found = [assignment for assignment in taken if assignment is not None]  # one may have begun just now
        for assignment in found:
            del self._held[assignment.key]
        return found

    def stop_attempts(self, stop: Stop) -> None:
        """Stop every attempt: async ones are cancelled, sync ones end in the log and keep their slot."""
        self._loop.call_soon_threadsafe(self._stop_all, stop)

    def hand_over(self, stop: Stop) -> None:
        """Stop the attempts whose work survives this process, so that another replica goes on with them."""
        self._loop.call_soon_threadsafe(partial(self._stop_all, stop, surviving_only=True))

    def stop_attempt(self, execution_id: int, claim_no: int, stop: Stop) -> None:
        """Stop one attempt, if it runs here."""
        self._loop.call_soon_threadsafe(self._stop_one, (execution_id, claim_no), stop)

    async def close(self) -> None:
        """End the handlers' loop; attempts that cannot be stopped are left to die with the process."""
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop)
        await asyncio.to_thread(self._thread.join, 2 * LAST_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)
        if not self._thread.is_alive():
            self._loop.close()

    # Below: on the handlers' loop.

    def _keep_running(self) -> None:
        """Run the loop until it is closed: job code can end it, by SystemExit in a task of its own, or by `stop`."""
        while not self._is_closing:
            try:
                self._loop.run_forever()
            except BaseException as error:  # noqa: BLE001 whatever job code raises, the replica lives
                log.warning("a task of a handler tried to end the process", error=describe(error))
            guard.end_child()

    async def _finish(self) -> None:
        tasks = [attempt.task for attempt in self._attempts.values() if attempt.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_SECONDS)
        self._is_closing = True
        self._loop.stop()

    def _answer(self) -> None:
        self._asked_at = None

    def _begin(self, assignments: Sequence[Assignment]) -> None:
        for assignment in assignments:
            execution, handler = execution_of(assignment), self._registry.get(assignment.handler)
            attempt = Attempt(assignment, execution, handler, 0.0, Output(assignment.logged))
            self._attempts[assignment.key] = attempt
            attempt.task = self._loop.create_task(self._attempt(attempt))
            if assignment.stop is not None:
                self._stop(attempt, assignment.stop)

    async def _attempt(self, attempt: Attempt) -> None:
        assignment = attempt.assignment
        if self._unbegun.pop(assignment.key, None) is None:
            del self._attempts[assignment.key]
            return  # taken back: whoever takes it out of there has it
        if not self._may_begin():
            del self._attempts[assignment.key]  # the log has it as running, and nobody holds it: it is handed back
            if self._main is not None:
                self._main.call_soon_threadsafe(self._held.pop, assignment.key, None)
            return
        attempt.has_begun = True
        captured.set(attempt.output)
        attempt.started = self._monotonic() - assignment.elapsed_seconds
        tracing.begin(assignment, attempt.execution, attempt.started)
        if assignment.timeout is not None:
            seconds = assignment.timeout.total_seconds()
            stop = Stop(
                State.TIMED_OUT, Reason.TIMEOUT_EXCEEDED, f"the attempt took longer than its timeout of {seconds:g} s"
            )
            left = max(0.0, seconds - assignment.elapsed_seconds)
            attempt.timer = self._loop.call_later(left, self._stop, attempt, stop)
        try:
            ending = self._succeeded(attempt, await self._call(attempt))
        except BaseException as error:  # noqa: BLE001 whatever job code raises, the replica lives
            ending = self._raised(attempt, error)
        if attempt.timer is not None:
            attempt.timer.cancel()
        del self._attempts[assignment.key]
        if attempt.has_ended:
            self._post(assignment)
        else:
            self._post(ending)

    async def _call(self, attempt: Attempt) -> Any:
        handler = attempt.handler
        if handler is None:
            raise SpecError(Reason.HANDLER_NOT_FOUND, f"no handler is named {attempt.assignment.handler!r}")
        payload = payload_of(handler, attempt.assignment)
        if handler.is_async:
            return await handler.function(attempt.execution, payload)
        context = contextvars.copy_context()
        call = partial(context.run, outcome, handler.function, attempt.execution, payload)
        result, error = await asyncio.shield(self._loop.run_in_executor(self._threads, call))
        if error is not None:
            raise error
        return result

    def _stop_all(self, stop: Stop, *, surviving_only: bool = False) -> None:
        for attempt in list(self._attempts.values()):
            if attempt.survives or not surviving_only:
                self._stop(attempt, stop)

    def _stop_one(self, key: tuple[int, int], stop: Stop) -> None:
        if key in self._attempts:
            self._stop(self._attempts[key], stop)

    def _stop(self, attempt: Attempt, stop: Stop) -> None:
        stopping, hands_over = attempt.execution.stopping, attempt.survives and stop.state is State.LOST
        # Where work survives, whoever goes on with it ends it too: a hand-over does not wait for an end under way.
        if attempt.task is None or (attempt.stop is not None and (stopping.hands_over or not hands_over)):
            return
        attempt.stop = stop
        stopping.hands_over = hands_over
        stopping.set()
        if not attempt.has_begun:
            if hands_over or not attempt.survives:
                self._call_off(attempt)
        elif attempt.survives:
            attempt.task.cancel()  # and waited for, however long: it ends when what it runs outside is gone
        elif attempt.handler is not None and attempt.handler.is_async:
            attempt.task.cancel()
            if attempt.timer is not None:
                attempt.timer.cancel()  # or the loop would keep the attempt until its timeout
            attempt.timer = self._loop.call_later(CANCEL_SECONDS, self._abandon, attempt)
        else:
            self._abandon(attempt)

    def _call_off(self, attempt: Attempt) -> None:
        """End an attempt whose task has not begun: another handler held the loop. A task cancelled now never runs."""
        assert attempt.task is not None  # noqa: S101 the caller looked
        attempt.task.cancel()
        attempt.started = self._monotonic() - attempt.assignment.elapsed_seconds
        del self._attempts[attempt.assignment.key]
        if self._unbegun.pop(attempt.assignment.key, None) is not None:
            self._post(self._stopped(attempt))

    def _abandon(self, attempt: Attempt) -> None:
        """Its code cannot be stopped: the attempt ends in the log, and keeps its slot until the code returns."""
        if not attempt.has_ended:
            attempt.has_ended = True
            self._post(self._stopped(attempt, abandoned=True))

    def _stopped(self, attempt: Attempt, *, abandoned: bool = False) -> Ending:
        assert attempt.stop is not None  # noqa: S101 the caller looked
        if attempt.execution.stopping.hands_over:
            # With its note: from now on nobody asks for it, and the next replica must know what was begun.
            return self._ending(attempt, State.PENDING, Reason.HANDED_OVER, None, result=attempt.encoded_note())
        return self._ending(attempt, attempt.stop.state, attempt.stop.reason, attempt.stop.message, abandoned=abandoned)

    def _succeeded(self, attempt: Attempt, result: object) -> Ending:
        if attempt.stop is not None and not attempt.survives:  # else it says what became of it outside
            return self._stopped(attempt)
        try:
            encoded = encode_result(attempt.output.hidden.mask_result(result))
        except NotJson as error:
            return self._ending(attempt, State.FAILED, Reason.ERROR, str(error))
        return self._ending(attempt, State.SUCCEEDED, Reason.SUCCESS, None, result=encoded)

    def _raised(self, attempt: Attempt, error: BaseException) -> Ending:
        try:
            return self._failed(attempt, error)
        except BaseException as own:  # noqa: BLE001 job code wrote what is asked of the error
            message = f"{describe(error)} (it cannot be read: {describe(own)})"
            return self._ending(attempt, State.FAILED, Reason.ERROR, message)

    def _failed(self, attempt: Attempt, error: BaseException) -> Ending:
        if isinstance(error, CannotGoOn):  # nor can it be ended here, where it was stopped
            left = self._ending(attempt, State.PENDING, Reason.HANDED_OVER, str(error))
            return replace(left, retry_after=LEFT_FOR)
        if attempt.stop is not None:
            if isinstance(error, NotBegun):
                attempt.stop = replace(attempt.stop, message=f"{attempt.stop.message}; {error}")
            return self._stopped(attempt)
        if isinstance(error, SpecError):
            return self._ending(attempt, State.FAILED, Reason(error.reason), error.message)
        if isinstance(error, Failed):
            reason = Reason.PERMANENT_ERROR if error.is_permanent else Reason.ERROR
            result = self._succeeded(attempt, error.result).result
            return self._ending(attempt, State.FAILED, reason, str(error), result=result)
        reason = Reason.PERMANENT_ERROR if isinstance(error, Permanent) else Reason.ERROR
        told = trace_of(error, attempt.output.hidden)
        attempt.output.add(told.rstrip())
        attempt.output.is_truncated |= len(told) >= LONGEST_TRACEBACK
        asked = delay_of(error) if isinstance(error, Retry) else None
        if isinstance(error, Retry) and asked is None:
            attempt.output.add("the delay of Retry must be a timedelta between 0 and 30 days: it is ignored")
        ending = self._ending(attempt, State.FAILED, reason, describe(error), trace=told)
        return replace(ending, retry_after=asked)

    def _ending(
        self,
        attempt: Attempt,
        state: State,
        reason: Reason,
        message: str | None,
        *,
        result: bytes | None = None,
        trace: str | None = None,
        abandoned: bool = False,
    ) -> Ending:
        assignment = attempt.assignment
        return Ending(
            assignment=assignment,
            state=state,
            reason=reason,
            message=None if message is None else attempt.output.hidden.mask(plain(message))[:LONGEST_MESSAGE],
            result=result,
            output=attempt.output.text(),
            output_truncated=attempt.output.is_truncated,
            traceback=None if trace is None else plain(trace),
            started_at=assignment.at(attempt.started),
            finished_at=assignment.at(self._monotonic()),
            abandoned=abandoned,
        )

    def _post(self, news: Ending | Assignment) -> None:
        """Tell the main loop, once for all that ends in this turn of the loop: woken for each, it would take the
        interpreter from the attempts each time. What a blocked loop keeps, `is_blocked` delivers."""
        tracing.end(news)
        self._news.append(news)
        if not self._is_posted:
            self._is_posted = True
            self._loop.call_soon(self._send_news)

    def _send_news(self) -> None:
        self._is_posted = False
        if self._main is not None:
            self._main.call_soon_threadsafe(self._deliver)

    # Below: on the main loop.

    def _deliver(self) -> None:
        endings: list[Ending] = []
        returned: list[Assignment] = []
        while self._news:
            news = self._news.popleft()
            if isinstance(news, Ending):
                endings.append(news)
            else:
                returned.append(news)
        if endings:
            self._on_end(endings)
        if returned:
            self._on_return(returned)
        for assignment in [*(e.assignment for e in endings if not e.abandoned), *returned]:
            self._held.pop(assignment.key, None)


def _guarded_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(Guarded(coroutine), loop=loop, **options)
