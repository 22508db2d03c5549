"""Traces of replicas that run: seen by a collector, joined by the target, and in nobody's way."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from tests.acceptance.collector import Server, serving
from tests.acceptance.conftest import Replicas, until

CANARY = "c4n4ry"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield found


def test_one_execution_is_one_trace_which_its_target_joins(replicas: Replicas, collector: Server) -> None:
    with serving(500, 200) as target:
        replicas.start("one", http_allow="127.0.0.0/8")
        replicas.wait_leader()
        port = target.url.rsplit(":", 1)[1]
        replicas.apply(
            "report",
            runAt=(datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            handler="http",
            payload={
                "method": "POST",
                "url": f"http://127.0.0.1:{port}/run?token={CANARY}",
                "headers": {"X-Key": CANARY},
                "body": {"key": CANARY},
            },
            retry={"limit": 1, "backoff": "1s"},
        )
        ended = "SELECT * FROM job_execution_log WHERE state = 'SUCCEEDED'"
        (row,) = until(lambda: replicas.rows(ended), 30)
        spans = until(lambda: len(found := collector.spans()) >= 4 and found, 10)

    key = f"{row['job_id']}/{row['fire_time'].strftime('%Y-%m-%dT%H:%M:%S.000Z')}/"
    assert {span.trace_id for span, _ in spans} == {sha256(key.encode()).digest()[:16]}
    attempts = sorted((pair for pair in spans if pair[0].name == "http"), key=lambda pair: pair[0].start_time_unix_nano)
    requests = sorted((pair for pair in spans if pair[0].name == "POST"), key=lambda pair: pair[0].start_time_unix_nano)
    told = [(at["scheduledjobs.attempt"], at["scheduledjobs.outcome"], at["faas.trigger"]) for _, at in attempts]
    assert told == [("1", "Failed", "timer"), ("2", "Succeeded", "timer")]
    assert [at["http.response.status_code"] for _, at in requests] == ["500", "200"]
    for (attempt, at), (request, _), (path, headers, _body) in zip(attempts, requests, target.asked, strict=True):
        assert (attempt.parent_span_id, request.parent_span_id) == (b"", attempt.span_id)
        assert headers["traceparent"].split("-")[1:3] == [request.trace_id.hex(), request.span_id.hex()]
        assert at["faas.invocation_id"] == str(row["id"])
        assert (at["service.name"], at["service.instance.id"]) == ("scheduledjobs", "one")
        assert path.startswith("/run?")
    assert 0 <= float(attempts[0][1]["scheduledjobs.lateness"]) < 10
    assert all(path == "/v1/traces" for path, _, _ in collector.asked)
    assert CANARY.encode() not in b"".join(body for _, _, body in collector.asked)


def test_a_collector_that_hangs_delays_neither_fires_nor_the_end(replicas: Replicas, collector: Server) -> None:
    collector.may_answer.clear()
    replicas.start("one")
    replicas.wait_leader()
    for n in range(8):
        replicas.apply(f"often-{n}", fixedRate="1s", handler="log")
    count = "SELECT count(*) AS n FROM job_execution_log WHERE state = 'SUCCEEDED'"
    until(lambda: replicas.row(count)["n"] >= 60, 40)
    until(lambda: collector.asked, 10)
    late = replicas.row("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY lateness_ms) AS ms FROM job_execution_log")
    assert late["ms"] < 500
    began = time.monotonic()
    replicas.signal("one", signal.SIGTERM)
    assert replicas.processes["one"].wait(15) == 0
    assert time.monotonic() - began < 6
    assert [row["n"] for row in replicas.rows("SELECT count(*) AS n FROM job_execution_log WHERE state = 'LOST'")] == [
        0
    ]


def test_a_collector_that_is_away_has_a_line_a_minute_and_executions_none(
    replicas: Replicas, collector: Server
) -> None:
    collector.statuses[:] = [503]
    replicas.start("one")
    replicas.wait_leader()
    for n in range(8):
        replicas.apply(f"often-{n}", fixedRate="1s", handler="log")
    count = "SELECT count(*) AS n FROM job_execution_log WHERE state = 'SUCCEEDED'"
    until(lambda: replicas.row(count)["n"] >= 60, 40)
    until(lambda: len(collector.asked) >= 3, 20)
    lines = [json.loads(line) for line in (replicas.folder / "one.log").read_text().splitlines()]
    assert all({"timestamp", "level", "logger", "event", "replica"} <= line.keys() for line in lines)
    assert 1 <= sum(line["logger"].startswith("opentelemetry") for line in lines) <= 3
    assert len(lines) < 20, lines
    assert [line["term"] for line in lines if line["event"] == "compared the mirror with the cluster"]
