"""Traces: a span for each attempt, with one for each request of the handler `http` inside it.

Off unless the environment names a collector, and then nothing of OpenTelemetry is imported. What is wrong with traces
is logged and never ends an attempt, nor keeps a replica from its work: they tell of what happens, and decide nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from scheduledjobs.handlers.assignment import Assignment, Ending
from scheduledjobs.handlers.execution import Execution
from scheduledjobs.logs import Seldom

if TYPE_CHECKING:
    from yarl import URL

    from scheduledjobs.handlers.otel import Traces

log = structlog.get_logger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"
LAST_SECONDS = 1.0

_traces: Traces | None = None  # one a process, as OpenTelemetry has one provider
_seldom = Seldom()


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether a collector is named, and nothing switches OpenTelemetry or its traces off."""
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_none = environment.get("OTEL_TRACES_EXPORTER", "").strip() == "none"
    return any(environment.get(name) for name in ENDPOINTS) and not is_off and not is_none


def why_not(environment: Mapping[str, str]) -> str | None:
    """Return what is wrong with the variables that say where traces go, without their values, or None."""
    protocol = next((name for name in PROTOCOLS if environment.get(name)), None)
    if protocol is not None and environment[protocol].strip() != SPOKEN:
        return f"{protocol}: only {SPOKEN} is spoken; the port of a collector for it is usually 4318"
    endpoint = next(name for name in ENDPOINTS if environment.get(name))
    try:
        parts = urlsplit(environment[endpoint].strip())
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    return None if is_url else f"{endpoint}: must look like http://collector:4318"


def set_up(replica: str, environment: Mapping[str, str] = os.environ) -> None:
    """Export traces from now on if the environment asks for it; the log says so, or why they are not exported."""
    global _traces
    if not is_wanted(environment):
        return
    error = why_not(environment)
    if error is None:
        try:
            from scheduledjobs.handlers.otel import Traces  # not before it is wanted: it is an extra, and not small

            _traces = Traces(replica)
        except ImportError as missing:
            error = f"{missing}; pip install 'scheduledjobs[otel]'"
        except Exception as refused:  # noqa: BLE001 whatever the SDK says of its variables
            error = str(refused)
    if error is None:
        log.info("traces are exported")
    else:
        log.error("traces are not exported", error=error)


def begin(assignment: Assignment, execution: Execution, started: float) -> None:
    """Open the span of an attempt that `started` at this monotonic second, and make it current in this task."""
    if _traces is not None:
        _try(_traces.begin, assignment, execution.idempotency_key, assignment.at(started))


def end(news: Ending | Assignment) -> None:
    """Close the span of an attempt that has ended; that abandoned code has returned closes nothing."""
    if _traces is not None and isinstance(news, Ending):
        _try(_traces.end, news)


def request(
    method: str, url: URL, headers: MutableMapping[str, str]
) -> AbstractContextManager[Callable[[int], object]]:
    """Return the span of a request, whose context is put into `headers`; tell what it yields the answer's status."""
    if _traces is None:
        return nullcontext(_ignore)
    return _traces.request(method, url, headers)


def shut_down(seconds: float = LAST_SECONDS) -> None:
    """Send what is left, for so long at most: a collector that hangs does not keep a replica from its end."""
    global _traces
    if _traces is not None:
        _traces.shut_down(seconds)
        _traces = None


def _ignore(_: int) -> None: ...


def _try(act: Callable[..., None], *args: object) -> None:
    try:
        act(*args)
    except Exception:
        if _seldom.ask(act.__name__) is not None:  # and the attempt goes on without its span
            log.exception("a span failed")
