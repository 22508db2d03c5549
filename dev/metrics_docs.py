"""The reference of metrics, made from what the operator registers: `python -m dev.metrics_docs` writes it."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import REGISTRY, Metric

from scheduledjobs import metrics
from scheduledjobs.web import meter

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "metrics.md"
HEAD = """# Metrics

Served at `/metrics` on `SCHEDULEDJOBS_METRICS_PORT`, by handler and never by job; series for each job come from
kube-state-metrics ([how](../howto/observe.md)). What begins with `scheduledjobs_web_` is counted by the process of REST
and pages, all but two are not there while that does not answer; its CPU seconds, memory and files are there as
`scheduledjobs_web_process_*`, beside the replica's own `process_*`. Made from the code by `make docs`.

| metric | type | labels | what it is |
| --- | --- | --- | --- |
"""


def own() -> list[tuple[Metric, tuple[str, ...]]]:
    """Return our metrics and their labels, by name; not those of the Python process."""
    everything = (*vars(metrics).values(), *vars(meter).values())
    names = {id(each): each for each in everything if hasattr(each, "_labelnames")}
    found = [(next(iter(each.describe())), each._labelnames) for each in names.values()]
    assert {metric.name for metric, _ in found} <= {
        metric.name for metric in (*REGISTRY.collect(), *meter.OWN.collect())
    }
    return sorted(found, key=lambda pair: pair[0].name)


def exported(metric: Metric) -> str:
    """Return the name under which a metric is served."""
    ends = {"counter": "_total", "info": "_info"}
    return metric.name.removesuffix(ends.get(metric.type, "\0")) + ends.get(metric.type, "")


def page() -> str:
    """Return the page."""
    return HEAD + "".join(f"| {' | '.join(_cells(metric, labels))} |\n" for metric, labels in own())


def _cells(metric: Metric, labels: tuple[str, ...]) -> tuple[str, ...]:
    named = ", ".join(f"`{label}`" for label in labels)
    return f"`{exported(metric)}`", metric.type, named, metric.documentation


if __name__ == "__main__":
    PAGE.write_text(page())
