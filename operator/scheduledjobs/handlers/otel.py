"""OpenTelemetry, here and nowhere else: what `tracing` does where a collector is named. The SDK reads OTEL_* itself.

Attempts of one execution are roots of one trace: its id is made of the execution's idempotency key, so a retry on
another replica, which knows nothing of the attempt before, belongs to it too. Spans wait in a queue that drops what is
too much, and are sent by a thread of its own. No payload is in a span, and of a URL neither login, query nor fragment.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from hashlib import sha256

from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind, StatusCode
from yarl import URL

from scheduledjobs import __version__
from scheduledjobs.core.masking import masked
from scheduledjobs.core.reasons import State, Trigger, camel
from scheduledjobs.handlers.assignment import Assignment, Ending, Key

HTTP_ERROR = 400
_wanted: ContextVar[int | None] = ContextVar("wanted", default=None)


class ExecutionIds(RandomIdGenerator):
    """Random ids, but for a trace whose id is known beforehand."""

    def generate_trace_id(self) -> int:
        """Return the id that is wanted here, or a random one."""
        return _wanted.get() or super().generate_trace_id()


def trace_id(idempotency_key: str) -> int:
    """Return the id of an execution's trace: the first 16 bytes of the SHA-256 of its idempotency key."""
    return int.from_bytes(sha256(idempotency_key.encode()).digest()[:16])


class Traces:
    """The spans of one replica."""

    def __init__(self, replica: str, exporter: SpanExporter | None = None) -> None:
        ours = {"service.name": "scheduledjobs", "service.version": __version__, "service.instance.id": replica}
        named = OTELResourceDetector().detect().attributes
        self._provider = TracerProvider(
            resource=Resource.create({**ours, **named}), id_generator=ExecutionIds(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("scheduledjobs", __version__)
        self._open: dict[Key, Span] = {}
        self._outside = contextvars.Context()  # what the SDK logs in there is no output of an attempt
        trace.set_tracer_provider(self._provider)  # so that spans of job code are exported as well

    def begin(self, assignment: Assignment, idempotency_key: str, started_at: datetime) -> None:
        """Open the span of an attempt, and make it current."""
        span = self._outside.run(self._start, assignment, idempotency_key, started_at)
        self._open[assignment.key] = span
        context.attach(trace.set_span_in_context(span))  # not detached: the task, and with it its context, ends

    def _start(self, assignment: Assignment, idempotency_key: str, started_at: datetime) -> Span:
        token = _wanted.set(trace_id(idempotency_key))
        try:
            return self._tracer.start_span(assignment.handler, attributes=_attributes(assignment, started_at))
        finally:
            _wanted.reset(token)

    def end(self, ending: Ending) -> None:
        """Close the span of an attempt."""
        span = self._open.pop(ending.assignment.key, None)
        if span is None:  # called off before it began
            return
        span.set_attribute("scheduledjobs.outcome", camel(ending.state))
        span.set_attribute("scheduledjobs.reason", ending.reason)
        if ending.state != State.SUCCEEDED:
            span.set_attribute("error.type", ending.reason)
            span.set_status(StatusCode.ERROR, masked(ending.message or ending.reason))
        self._outside.run(span.end)

    @contextmanager
    def request(self, method: str, url: URL, headers: MutableMapping[str, str]) -> Iterator[Callable[[int], object]]:
        """Open the span of a request, in whose `headers` its context takes the place of what was there."""
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": url.host or "",
            "server.port": url.port or 0,
            "url.full": str(url.with_user(None).with_query(None).with_fragment(None)),
        }
        with self._tracer.start_as_current_span(
            method, kind=SpanKind.CLIENT, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            for name in [name for name in headers if name.lower() in carrier]:
                del headers[name]
            headers.update(carrier)
            statuses: list[int] = []
            raised: str | None = None
            try:
                yield statuses.append
            except BaseException as error:
                raised = type(error).__name__
                raise
            finally:
                _answered(span, statuses, raised)

    def shut_down(self, seconds: float) -> None:
        """Send what waits, for so long at most."""
        thread = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(seconds)


def _attributes(assignment: Assignment, started_at: datetime) -> dict[str, str | int | float]:
    found: dict[str, str | int | float] = {
        "faas.trigger": "other" if assignment.trigger == Trigger.MANUAL else "timer",
        "faas.invocation_id": str(assignment.id),
        "scheduledjobs.namespace": assignment.namespace,
        "scheduledjobs.job": assignment.job_name,
        "scheduledjobs.job_id": str(assignment.job_id),
        "scheduledjobs.version": assignment.version,
        "scheduledjobs.handler": assignment.handler,
        "scheduledjobs.fire_time": assignment.fire_time.isoformat(timespec="milliseconds"),
        "scheduledjobs.attempt": assignment.attempt,
        "scheduledjobs.trigger": camel(assignment.trigger),
    }
    if assignment.attempt == 1 and not assignment.run_key:
        found["scheduledjobs.lateness"] = (started_at - assignment.due_at).total_seconds()
    return found


def _answered(span: Span, statuses: Sequence[int], raised: str | None) -> None:
    for status in statuses:
        span.set_attribute("http.response.status_code", status)
    error = next((str(status) for status in statuses if status >= HTTP_ERROR), None if statuses else raised)
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
