"""Structured logs: one JSON object a line (or colours on a console), ours and the libraries' alike, to stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Hashable

import structlog
from structlog.typing import EventDict, Processor

from scheduledjobs.core.terminal import printable

QUIET = ("kopf", "aiohttp", "asyncio", "uvicorn")
SILENT = ("kubernetes", "psycopg")
"""They warn of what we then say ourselves, in a sentence, and no more often than need be."""


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


def set_up_logs(form: str, level: str) -> None:
    """Send every log line to stderr in `form` (json or console), from `level` on."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    is_json = form == "json"
    renderer: Processor = structlog.processors.JSONRenderer() if is_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if is_json else [_harmless]),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _harmless(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Let no text of others begin a line or steer the terminal. JSON escapes by itself, and the console its fields."""
    event["event"] = printable(str(event.get("event", "")))
    if "exception" in event:
        lines = str(event["exception"]).split("\n")
        event["exception"] = "\n".join(f"  {printable(line)}" for line in lines)
    return event
