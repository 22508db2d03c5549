"""What a handler is given: which moment it runs for, how long it has, and a logger whose lines are kept.

Lines logged in the handler's context, by `execution.logger` or any logger of the standard library, are the attempt's
output: the last 64 KiB of them, in job_execution_output, and in no other place.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs.core.hidden import Hidden
from scheduledjobs.core.reasons import Trigger
from scheduledjobs.core.result import plain

MOST_OUTPUT = 64 * 1024
LONGEST_LINE = 8 * 1024

logger = logging.getLogger("scheduledjobs.job")


class Output:
    """The tail of what an attempt logged; lines come from any thread."""

    def __init__(self, logged: tuple[str, bool] | None = None) -> None:
        """`logged`: the lines that are stored of an earlier claim, and whether some were cut; others come after."""
        text, self.is_truncated = logged or ("", False)
        self._lines = deque(text.split("\n") if text else ())
        self._size = len(text) + 1 if text else 0
        self._lock = threading.Lock()
        self._has_news = False
        self.hidden = Hidden()

    def add(self, text: str) -> None:
        """Append a text by its lines, of which a long one is cut; the oldest go when there are too many."""
        text = self.hidden.mask(plain(text))  # before it is cut: half a secret is one too
        with self._lock:
            for line in text.split("\n"):  # cut as a whole, a traceback would lose its end, which says what matters
                self._append(line)
            self._has_news = True

    def _append(self, line: str) -> None:
        if len(line) > LONGEST_LINE:
            line, self.is_truncated = line[:LONGEST_LINE], True
        self._lines.append(line)
        self._size += len(line) + 1
        while self._size > MOST_OUTPUT:
            self._size -= len(self._lines.popleft()) + 1
            self.is_truncated = True

    def text(self) -> str:
        """Return the lines."""
        with self._lock:
            return "\n".join(self._lines)

    def news(self) -> str | None:
        """Return the lines if there are any that were not returned here before, else None."""
        with self._lock:
            if not self._has_news:
                return None
            self._has_news = False
            return "\n".join(self._lines)

    def again(self) -> None:
        """What was returned could not be written: return it once more, with what comes until then."""
        self._has_news = True


class Stopping:
    """Set when an attempt should stop: an event as of `threading`, made only where somebody sets it or waits for it.

    Nearly every attempt ends without either, and to make one takes longer than to make the attempt.
    """

    __slots__ = ("_event", "hands_over")
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._event: threading.Event | None = None
        self.hands_over = False
        """Of a handler that `survives`: only this replica stops. What runs outside goes on; another one watches it."""

    def is_set(self) -> bool:
        """Return whether the attempt should stop."""
        return self._event is not None and self._event.is_set()

    def set(self) -> None:
        """Say that it should, and wake who waits for that."""
        self._made().set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it should, at most `timeout` seconds; return whether it should."""
        return self._made().wait(timeout)

    def _made(self) -> threading.Event:
        with self._lock:
            if self._event is None:
                self._event = threading.Event()
            return self._event


class Note:
    """What an attempt says of itself while it runs: a JSON value, in `result` of its row until it ends."""

    def __init__(self) -> None:
        self.value: Any = None
        self._has_news = False

    def set(self, value: Any) -> None:
        """Say something in place of what was said before."""
        self.value = value
        self._has_news = True

    def news(self) -> Any:
        """Return what was not returned here before, or None."""
        has_news, self._has_news = self._has_news, False
        return self.value if has_news else None

    def again(self) -> None:
        """What was returned could not be written: return it once more."""
        self._has_news = True


captured: ContextVar[Output | None] = ContextVar("captured", default=None)


def hide(value: str) -> None:
    """Let the attempt in whose context this is called never say a value; outside of attempts nothing happens."""
    output = captured.get()
    if output is not None:
        output.hidden.add(value)


def without_hidden(text: str) -> str:
    """Return text without what this attempt must not say: to be called before a text is cut."""
    output = captured.get()
    return text if output is None else output.hidden.mask(text)


class CaptureHandler(logging.Handler):
    """Adds a record to the output of the attempt in whose context it was logged."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, if it belongs to an attempt."""
        output = captured.get()
        if output is None:
            return
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        try:
            output.add(f"{moment.replace('+00:00', 'Z')} {record.levelname} {self.format(record)}")
        except Exception:  # noqa: BLE001 as logging does: a line that cannot be formatted does not end the job
            self.handleError(record)


def is_ours(_: logging.LogRecord) -> bool:
    """Let pass what no attempt logged: how much job code says must not fill the replica's log."""
    return captured.get() is None


def install_capture() -> None:
    """Capture what is logged in attempts, which goes nowhere else, whatever logger it came by. Once a process."""
    if not any(isinstance(handler, CaptureHandler) for handler in logger.handlers):
        handler = CaptureHandler()
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        root = logging.getLogger()
        for each in root.handlers:
            each.addFilter(is_ours)
        root.addHandler(handler)


@dataclass(frozen=True, slots=True)
class Execution:
    """One attempt, as its handler sees it.

    `fire_time` is the moment that the schedule names; `attempt` counts from 1. `missed_count` and `first_missed_at`
    are set on a run that stands for moments missed. `idempotency_key` is the same for every attempt of one execution.
    """

    namespace: str
    job: str
    job_id: UUID
    fire_time: datetime
    attempt: int
    trigger: Trigger
    run_key: str
    deadline: datetime | None
    missed_count: int | None
    first_missed_at: datetime | None
    id: int = 0
    """Row of job_execution_log."""

    claim_no: int = 0
    replica: UUID | None = None
    stopping: Stopping = field(default_factory=Stopping, repr=False)
    """Set when the attempt should stop; a sync handler that runs long looks at it."""

    note: Note = field(default_factory=Note, repr=False)
    timeout: timedelta | None = None
    noted: Any = None
    """What another replica noted of this very attempt before it died or stopped; only where the handler `survives`."""

    @property
    def idempotency_key(self) -> str:
        """`uid/fire_time/run_key`."""
        moment = self.fire_time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f"{self.job_id}/{moment}/{self.run_key}"

    @property
    def logger(self) -> logging.Logger:
        """A logger whose lines become this attempt's output."""
        return logger
