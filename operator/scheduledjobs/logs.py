"""Structured logs: one JSON object a line (or colours on a console), ours and the libraries' alike, to stderr.

An event is a fixed text, which names it; what differs is in fields, each of which means one thing wherever it is
(docs/reference/logs.md). Whatever a value holds, a line is one line, of bounded length, and nobody's terminal obeys it.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from scheduledjobs.core.terminal import printable

QUIET = ("kopf", "aiohttp", "asyncio", "uvicorn")
SILENT = ("kubernetes", "psycopg")
"""They warn of what we then say ourselves, in a sentence, and no more often than need be."""

REPETITIVE = "opentelemetry"
"""Says at each batch that a collector does not answer."""

MOST_TEXT = 4 * 1024
MOST_TRACE = 8 * 1024
MOST_ITEMS = 100
LARGEST = 2**63

_always: Mapping[str, object] = {}


def say_always(**fields: object) -> None:
    """Put these fields into every line of this process from now on; None takes one out of them."""
    global _always  # replaced, never changed: lines are logged by other threads meanwhile
    _always = {name: value for name, value in {**_always, **fields}.items() if value is not None}


class Seldom:
    """Which of many lines of a kind are logged: one a minute of each thing they tell of, and a bounded number in all.

    What job code does decides how many there would be, and a log must not grow by that; SQL has every one of them.
    """

    SECONDS = 60.0
    MOST = 100

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said: set[Hashable] = set()
        self._began = float("-inf")
        self._unsaid = 0

    def ask(self, what: Hashable) -> int | None:
        """Return how many lines were held back since the last that was logged, or None to hold back this one too."""
        now = self._monotonic()
        if now - self._began >= self.SECONDS:
            self._began = now
            self._said.clear()
        if what in self._said or len(self._said) >= self.MOST:
            self._unsaid += 1
            return None
        self._said.add(what)
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid


class Unrepeated(logging.Filter):
    """Lets one line a minute of a kind pass of what libraries repeat."""

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        return not record.name.startswith(REPETITIVE) or self._seldom.ask((record.name, record.msg)) is not None


def set_up_logs(form: str, level: str, replica: str) -> None:
    """Send every log line to stderr in `form` (json or console), from `level` on; each names this replica."""
    say_always(replica=replica)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        bounded,
    ]
    last: list[Processor] = [structlog.processors.JSONRenderer(serializer=json.dumps)]
    if form == "console":
        last = [_harmless, structlog.dev.ConsoleRenderer()]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Unrepeated())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    least = getattr(logging, level.upper())
    root.setLevel(least)
    logging.captureWarnings(capture=True)  # else they are lines of another form
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, least))  # the root's own holds no line of theirs back
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _harmless(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Let no text of others begin a line or steer the terminal; JSON escapes by itself."""
    return {
        key: "\n".join(f"  {printable(line)}" for line in value.split("\n"))
        if key == "exception"
        else printable(value)
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


def bounded(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Return the line with the fields of every line, each value one that JSON can hold, and none very long.

    A field that is None is left out. A traceback keeps its end, which says what it is about.
    """
    kept = {key: value for key, value in {**_always, **event}.items() if value is not None}
    return {
        key: value if key.startswith("_") else _tail(value) if key == "exception" else _plain(value)
        for key, value in kept.items()
    }


def _tail(trace: object) -> str:
    return str(trace).encode(errors="replace").decode()[-MOST_TRACE:]


def _plain(value: object, depth: int = 0) -> Any:
    """Return a value that every reader of JSON takes: no lone surrogate, no NaN, no number beyond 64 bits."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < LARGEST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple | set | frozenset) and depth < 3:
        return [_plain(item, depth + 1) for item in list(value)[:MOST_ITEMS]]
    if isinstance(value, Mapping) and depth < 3:
        return {str(_plain(key, depth + 1)): _plain(item, depth + 1) for key, item in list(value.items())[:MOST_ITEMS]}
    try:
        text = hex(value) if isinstance(value, int) else value if isinstance(value, str) else str(value)
    except Exception:  # noqa: BLE001 whoever wrote its class wrote how it is printed
        text = f"a {type(value).__name__} that cannot be printed"
    return (text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…").encode(errors="replace").decode()
