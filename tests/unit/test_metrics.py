"""Metrics: a histogram that takes a batch says what the library's own would; refused namespaces are counted."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest

from scheduledjobs.kube.refusals import Refusals
from scheduledjobs.metrics import SECONDS, Timings

VALUES = [-0.002, 0.0, 0.001, 0.0011, 0.7, 1, 59.9, 60.0, 3600, 3600.1, 1e9]


def test_a_batch_counts_as_its_values_would_one_by_one() -> None:
    timings = Timings("timings_of_a_test", "For a test")
    try:
        theirs = Histogram("timings_of_a_test", "For a test", ["handler"], buckets=SECONDS, registry=None)
        for start in range(0, len(VALUES), 4):
            timings.observe("a", VALUES[start : start + 4])
        timings.observe("b", [0.5])
        for value in VALUES:
            theirs.labels(handler="a").observe(value)
        theirs.labels(handler="b").observe(0.5)
        assert _series(timings) == _series(theirs)
    finally:
        REGISTRY.unregister(timings)


def _series(collector: Timings | Histogram) -> list[str]:
    registry = CollectorRegistry()
    registry.register(collector)
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


def test_a_namespace_counts_as_refused_until_it_is_so_neither_to_the_watch_nor_to_the_compare() -> None:
    refusals, counts = Refusals(), []
    for tell, namespace, by in (
        (refuse, "a", "watch"),
        (refuse, "a", "compare"),
        (refuse, "b", "compare"),
        (admit, "a", "compare"),
        (admit, "a", "watch"),
        (admit, "b", "watch"),
        (admit, "b", "compare"),
    ):
        tell(refusals, namespace, by)
        counts.append(REGISTRY.get_sample_value("scheduledjobs_namespaces_refused"))
    assert counts == [1, 1, 2, 2, 1, 1, 0]


def refuse(refusals: Refusals, namespace: str, by: str) -> None:
    refusals.refuse(namespace, by, "403")


def admit(refusals: Refusals, namespace: str, by: str) -> None:
    refusals.admit(namespace, by)


def test_its_name_is_served_before_anything_is_counted() -> None:
    names = {family.name: family.type for family in REGISTRY.collect()}
    assert names["scheduledjobs_lateness_seconds"] == names["scheduledjobs_duration_seconds"] == "histogram"
