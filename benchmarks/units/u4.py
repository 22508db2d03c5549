"""U4: how late executions begin at 100 and at 1,000 fires a second, evenly spread over it."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

from dev.processes import say

from benchmarks.bench import SLOTS, Bench
from benchmarks.figures import Figure, Goal, Lateness, at_most
from benchmarks.units.load import WARM_UP_SECONDS, add_length, lateness, length, start_load

GOALS: dict[int, dict[str, Goal]] = {
    100: {"p50": at_most(3), "p99": at_most(20, 10), "max": at_most(50)},
    1_000: {"p99": at_most(60, 30)},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this unit's options."""
    parser.add_argument("--rate", type=int, nargs="+", default=[100, 1_000], help="fires a second (default: 100 1000)")
    parser.add_argument("--runs", type=int, default=1, help="runs of each, interleaved (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=SLOTS, help="slots of a replica (default: %(default)s)")
    add_length(parser, 10)


def run(bench: Bench, words: argparse.Namespace) -> list[Figure]:
    """Measure each rate in turn."""
    found: dict[int, list[Lateness]] = defaultdict(list)
    for _ in range(words.runs):
        for rate in words.rate:
            found[rate].append(steady(bench, rate, words.slots, length(words)))
    return [figure for rate, runs in found.items() for figure in figures(rate, runs, length(words))]


def figures(rate: int, runs: list[Lateness], seconds: float) -> Iterator[Figure]:
    """Yield the figures of one rate."""
    goals = GOALS.get(rate, {})
    yield Figure(f"{rate:,}/s: p50", tuple(run.p50 for run in runs), "ms", goals.get("p50"))
    yield Figure(f"{rate:,}/s: p99", tuple(run.p99 for run in runs), "ms", goals.get("p99"))
    yield Figure(f"{rate:,}/s: max", tuple(run.last for run in runs), "ms", goals.get("max"))
    yield Figure(f"{rate:,}/s: early", tuple(float(run.early) for run in runs), "", at_most(0))
    yield Figure(f"{rate:,}/s: not started", tuple(rate * seconds - run.n for run in runs), "", at_most(0))


def steady(bench: Bench, rate: int, slots: int, seconds: float) -> Lateness:
    """Return how late executions began at `rate` a second, one replica."""
    bench.fresh_database()
    with bench.replicas(1, slots) as [replica]:
        start_load(bench, replica, rate)
        say(f"{rate:,} fires a second: {WARM_UP_SECONDS:g} s of warm-up, then {seconds:g} s")
        start = bench.measure(WARM_UP_SECONDS, seconds)
    return lateness(bench, start, seconds)
