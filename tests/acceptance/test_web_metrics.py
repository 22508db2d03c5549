"""What the web process counts is among its replica's metrics, and a web process that is gone or frozen harms none."""

from __future__ import annotations

import signal
import time
import urllib.request

from dev.processes import free_port
from prometheus_client.parser import text_string_to_metric_families
from tests.acceptance.conftest import Replicas, until
from tests.acceptance.test_web_process import started, web_of

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> Samples:
    """Return what Prometheus would read; a series that is there twice is an error."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found: Samples = {}
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return a sample, 0 where there is none."""
    return samples.get((name, frozenset(labels.items())), 0.0)


def test_requests_are_counted_by_route_method_and_class_and_never_by_path(replicas: Replicas) -> None:
    port = free_port()
    rest = started(replicas, metrics_port=str(port))
    replicas.wait_leader()
    before = scrape(port)
    for path in ("/jobs/default.no-such", "/jobs/default.nor-this", "/jobs", "/no/such/place", "/ui/jobs"):
        rest.get(path)
    rest.call("BREW", "/jobs")
    tag = rest.get("/ui/jobs").headers["etag"]
    unchanged = rest.get("/ui/jobs", if_none_match=tag)
    after = scrape(port)

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    requests = "scheduledjobs_web_requests_total"
    assert more(requests, route="/jobs/{id}", method="GET", status="4xx") == 2
    assert more(requests, route="/jobs", method="GET", status="2xx") == 1
    assert more(requests, route="none", method="GET", status="4xx") == 1
    assert more(requests, route="/ui/jobs", method="GET", status="2xx") >= 1
    assert sum(n for (name, labels), n in after.items() if name == requests and ("method", "other") in labels) == 1
    assert more("scheduledjobs_web_request_duration_seconds_count", route="/jobs/{id}") == 2
    assert more("scheduledjobs_web_not_modified_total") == (1 if unchanged.status == 304 else 0)
    assert more("scheduledjobs_web_session_wait_seconds_count") >= 3
    assert value(after, "scheduledjobs_web_requests_in_flight") == 0
    assert value(after, "scheduledjobs_web_sessions_in_use") == 0
    assert value(after, "scheduledjobs_web_serving") == 1
    assert value(after, "scheduledjobs_web_process_resident_memory_bytes") > 1e6
    text = str(after)
    assert "no-such" not in text
    assert "BREW" not in text
    assert "/no/such/place" not in text


def test_metrics_are_served_while_the_web_process_is_frozen_or_gone(replicas: Replicas) -> None:
    port = free_port()
    started(replicas, metrics_port=str(port))
    replicas.wait_leader()
    web = web_of(replicas)
    web.send_signal(signal.SIGSTOP)
    try:
        for _ in range(3):
            began = time.monotonic()
            frozen = scrape(port)
            assert time.monotonic() - began < 2
            assert value(frozen, "scheduledjobs_slots") == 32
            assert not [name for name, _ in frozen if name == "scheduledjobs_web_requests_in_flight"]
    finally:
        web.send_signal(signal.SIGCONT)
    until(lambda: ("scheduledjobs_web_requests_in_flight", frozenset()) in scrape(port), 10)
    web.kill()
    until(lambda: value(scrape(port), "scheduledjobs_web_restarts_total") == 1, 10)
    until(lambda: value(scrape(port), "scheduledjobs_web_serving") == 1, 20)
    until(lambda: ("scheduledjobs_web_requests_in_flight", frozenset()) in scrape(port), 10)


def test_without_rest_and_pages_there_are_no_metrics_of_them(replicas: Replicas) -> None:
    port = free_port()
    replicas.start("one", metrics_port=str(port))
    replicas.wait_leader()
    samples = scrape(port)
    assert value(samples, "scheduledjobs_slots") == 32
    assert not [name for name, _ in samples if name == "scheduledjobs_web_requests_in_flight"]
