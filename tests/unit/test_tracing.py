"""Traces: a span for each attempt, whatever becomes of it; nothing at all where no collector is named."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs
from tests.unit.assigned import NOON
from tests.unit.test_runner import Bench
from yarl import URL

from scheduledjobs.core.reasons import State, Trigger
from scheduledjobs.handlers import Execution, tracing
from scheduledjobs.handlers.otel import Traces, trace_id

OBSERVE = Path(__file__).parents[2] / "docs" / "howto" / "observe.md"
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


class Kept(SpanExporter):
    """An exporter that keeps what it is given; it can hang as a collector does."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.may_answer.wait(30)
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS


class Traced(Bench):
    """A runner whose spans are kept."""

    def __init__(self, kept: Kept, traces: Traces) -> None:
        super().__init__()
        self._kept = kept
        self._traces = traces

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that have ended."""
        self._traces._provider.force_flush()
        return self._kept.spans

    def span(self) -> ReadableSpan:
        """Return the one span."""
        (found,) = self.spans()
        return found


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Traced]:
    kept = Kept()
    traces = Traces("replica-1", kept)
    monkeypatch.setattr(tracing, "_traces", traces)
    made = Traced(kept, traces)
    yield made
    await made.runner.close()
    kept.may_answer.set()
    traces.shut_down(5)


async def nothing(_execution: Execution, _payload: Any) -> None: ...


async def test_an_attempt_is_a_span_that_says_what_ran_when_and_how_it_ended(bench: Traced) -> None:
    await bench.run(nothing, secret="s3cret")
    span = bench.span()
    found = dict(span.attributes or {})
    assert (span.name, span.kind, span.parent, span.status.status_code) == (
        "handler-1",
        SpanKind.INTERNAL,
        None,
        StatusCode.UNSET,
    )
    assert found.pop("scheduledjobs.lateness") is not None
    assert found == {
        "faas.trigger": "timer",
        "faas.invocation_id": "1",
        "scheduledjobs.namespace": "default",
        "scheduledjobs.job": "job",
        "scheduledjobs.job_id": "00000000-0000-0000-0000-000000000001",
        "scheduledjobs.version": 1,
        "scheduledjobs.handler": "handler-1",
        "scheduledjobs.fire_time": "2026-11-23T12:00:00.000+00:00",
        "scheduledjobs.attempt": 1,
        "scheduledjobs.trigger": "Schedule",
        "scheduledjobs.outcome": "Succeeded",
        "scheduledjobs.reason": "Success",
    }
    assert "s3cret" not in span.to_json()
    assert {"service.name": "scheduledjobs", "service.instance.id": "replica-1"}.items() <= dict(
        span.resource.attributes
    ).items()


async def test_every_attribute_is_in_the_documentation_and_every_one_there_is_set(bench: Traced) -> None:
    async def fails(_execution: Execution, _payload: Any) -> None:
        with tracing.request("GET", URL("http://a.example/"), {}) as answered:
            answered(500)
        raise RuntimeError("no")

    await bench.run(fails)
    used = {name for span in bench.spans() for name in span.attributes or {}}
    lines = [
        line
        for line in OBSERVE.read_text().splitlines()
        if line.startswith(("| `scheduledjobs.", "| `faas.", "| `http.", "| `url.", "| `server.", "| `error."))
    ]
    assert {name.strip("` ") for line in lines for name in line.split("|")[1].split(",")} == used


async def test_an_attempt_that_fails_is_an_error_with_its_reason_and_no_login_of_a_url(bench: Traced) -> None:
    async def fails(_execution: Execution, _payload: Any) -> None:
        raise RuntimeError("no answer from https://ana:s3cret@reports.example/?token=t0ken")

    await bench.run(fails)
    span = bench.span()
    assert span.status.status_code == StatusCode.ERROR
    assert (span.status.description or "").startswith("RuntimeError: no answer from https://")
    assert span.attributes is not None
    assert (span.attributes["scheduledjobs.outcome"], span.attributes["error.type"]) == ("Failed", "Error")
    assert "s3cret" not in span.to_json()
    assert "t0ken" not in span.to_json()


async def test_attempts_of_one_execution_are_one_trace_whichever_replica_runs_them(bench: Traced) -> None:
    first = bench.begin(nothing)
    await asyncio.wait_for(bench.endings.get(), 5)
    other = replace(first, attempt=2, claim_no=2)
    bench.runner.submit([other])
    await asyncio.wait_for(bench.endings.get(), 5)
    bench.runner.submit([replace(first, fire_time=NOON + timedelta(hours=1), claim_no=3)])
    await asyncio.wait_for(bench.endings.get(), 5)
    ids = [span.context.trace_id for span in bench.spans() if span.context]
    assert ids[0] == ids[1] == trace_id("00000000-0000-0000-0000-000000000001/2026-11-23T12:00:00.000Z/")
    assert ids[2] != ids[0]
    assert len({span.context.span_id for span in bench.spans() if span.context}) == 3


async def test_lateness_is_told_of_first_attempts_of_the_schedule_only(bench: Traced) -> None:
    first = bench.begin(nothing)
    await asyncio.wait_for(bench.endings.get(), 5)
    for other in (
        replace(first, attempt=2, claim_no=2),
        replace(first, run_key="token", trigger=Trigger.MANUAL, claim_no=3),
    ):
        bench.runner.submit([other])
        await asyncio.wait_for(bench.endings.get(), 5)
    told = [
        (span.attributes["faas.trigger"], "scheduledjobs.lateness" in span.attributes)
        for span in bench.spans()
        if span.attributes
    ]
    assert told == [("timer", True), ("timer", False), ("other", False)]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_handler_sees_the_span_of_its_attempt(bench: Traced, is_async: bool) -> None:  # noqa: FBT001
    def look(_execution: Execution, _payload: Any) -> str:
        return f"{trace.get_current_span().get_span_context().span_id:016x}"

    async def look_async(execution: Execution, payload: Any) -> str:
        return await asyncio.create_task(asyncio.to_thread(look, execution, payload))

    ending = await bench.run(look_async if is_async else look)
    context = bench.span().context
    assert context is not None
    assert ending.result == f'"{context.span_id:016x}"'.encode()


async def test_the_span_of_one_attempt_is_not_current_in_another(bench: Traced) -> None:
    both = asyncio.Barrier(2)

    async def look(_execution: Execution, _payload: Any) -> str:
        async with both:
            return f"{trace.get_current_span().get_span_context().span_id:016x}"

    bench.begin(look)
    bench.begin(look)
    seen = {(await asyncio.wait_for(bench.endings.get(), 5)).result for _ in range(2)}
    assert seen == {f'"{span.context.span_id:016x}"'.encode() for span in bench.spans() if span.context}
    assert len(seen) == 2
    assert not trace.get_current_span().get_span_context().is_valid


async def test_an_attempt_that_is_stopped_says_so_even_while_its_thread_runs_on(bench: Traced) -> None:
    may_return = threading.Event()
    bench.begin(lambda *_: may_return.wait(20), timeout=0.05)
    ending = await asyncio.wait_for(bench.endings.get(), 5)
    assert ending.abandoned
    span = bench.span()
    assert span.attributes is not None
    assert span.attributes["scheduledjobs.outcome"] == "TimedOut"
    may_return.set()
    await asyncio.wait_for(bench.returned.get(), 5)
    assert len(bench.spans()) == 1


async def test_an_attempt_that_may_not_begin_has_no_span(bench: Traced) -> None:
    bench.may_begin = False
    bench.begin(nothing)
    async with asyncio.timeout(5):
        while bench.runner.free_slots < 4:
            await asyncio.sleep(0.01)
    assert bench.spans() == []
    assert bench._traces._open == {}


class Loud(SpanProcessor):
    """Logs of each span, as the SDK does when its queue is full."""

    def on_start(self, *_: object, **__: object) -> None:
        logging.getLogger("opentelemetry.sdk").warning("begun")

    def on_end(self, *_: object) -> None:
        logging.getLogger("opentelemetry.sdk").warning("Queue full")


async def test_what_the_sdk_logs_is_no_output_of_the_attempt(bench: Traced, caplog: pytest.LogCaptureFixture) -> None:
    async def speaks(execution: Execution, _payload: Any) -> None:
        execution.logger.info("hello")

    bench._traces._provider.add_span_processor(Loud())
    ending = await bench.run(speaks)
    assert ending.output.endswith("hello")
    assert ending.output.count("\n") == 0
    assert [record.message for record in caplog.records if record.name == "opentelemetry.sdk"] == [
        "begun",
        "Queue full",
    ]


async def test_a_span_that_fails_does_not_end_its_attempt(bench: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(bench._traces, "begin", fails)
    with capture_logs() as logs:
        ending = await bench.run(nothing)
    assert ending.state == State.SUCCEEDED
    assert [line["event"] for line in logs] == ["a span failed"]


async def test_a_request_is_a_span_in_that_of_its_attempt_and_its_headers_say_so(bench: Traced) -> None:
    headers = {"Traceparent": "forged", "X-Team": "finance"}

    async def calls(_execution: Execution, _payload: Any) -> None:
        url = URL("https://ana:s3cret@reports.example/run?token=t0ken#part")
        with tracing.request("POST", url, headers) as answered:
            answered(503)
            raise ConnectionError

    await bench.run(calls)
    request, attempt = bench.spans()
    assert request.context is not None
    assert attempt.context is not None
    assert request.parent is not None
    assert request.parent.span_id == attempt.context.span_id
    flags = f"{int(request.context.trace_flags):02x}"
    expected = f"00-{attempt.context.trace_id:032x}-{request.context.span_id:016x}-{flags}"
    assert headers == {"traceparent": expected, "X-Team": "finance"}
    assert (request.name, request.kind, request.status.status_code) == ("POST", SpanKind.CLIENT, StatusCode.ERROR)
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "server.address": "reports.example",
        "server.port": 443,
        "url.full": "https://reports.example/run",
        "http.response.status_code": 503,
        "error.type": "503",
    }
    assert "s3cret" not in request.to_json()


async def test_a_request_without_an_answer_says_what_kept_it(bench: Traced) -> None:
    async def calls(_execution: Execution, _payload: Any) -> None:
        with tracing.request("GET", URL("http://a.example/"), {}):
            raise TimeoutError

    await bench.run(calls)
    request = bench.spans()[0]
    assert request.attributes is not None
    assert request.attributes["error.type"] == "TimeoutError"


async def test_a_collector_that_hangs_delays_no_attempt_and_the_end_by_a_second(bench: Traced) -> None:
    bench._kept.may_answer.clear()
    for _ in range(600):  # more than a batch, so that the exporter is at work
        await bench.run(nothing)
    began = time.monotonic()
    bench._traces.shut_down(0.2)
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    ("environment", "is_wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, False),
        (COLLECTOR, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, True),
        ({**COLLECTOR, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_exported_where_a_collector_is_named(environment: dict[str, str], is_wanted: bool) -> None:  # noqa: FBT001
    assert tracing.is_wanted(environment) is is_wanted


def test_without_the_extra_the_log_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scheduledjobs.handlers.otel", None)
    with capture_logs() as logs:
        tracing.set_up("r", COLLECTOR)
    assert [line["event"] for line in logs] == ["traces are not exported"]
    assert "pip install 'scheduledjobs[otel]'" in logs[0]["error"]
