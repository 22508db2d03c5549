"""The times of a day that a cron names: as a list of them all would say, without there being one."""

from __future__ import annotations

import tracemalloc
from bisect import bisect_left
from random import Random

import pytest

from scheduledjobs.core.cron import parse_cron
from scheduledjobs.core.quota import fires_per_hour
from scheduledjobs.core.times import Times

DENSE = [f"{low}-{high} * * * * *" for low in range(4) for high in range(45, 60)]
MOST_BYTES = 3_000_000
"""A list of the times of a single one of them would be as much."""


def test_what_dense_crons_keep_in_memory_is_small() -> None:
    parse_cron("0-58 * * * * *")
    tracemalloc.start()
    try:
        parsed = [parse_cron(expression) for expression in DENSE]
        assert [fires_per_hour(expression, None, None) for expression in DENSE[:3]] == [46 * 60, 47 * 60, 48 * 60]
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(fields.times) for fields in parsed) > len(DENSE) * 40_000
    assert max(kept, peak) < MOST_BYTES


def some(random: Random, size: int) -> tuple[int, ...]:
    return tuple(sorted(random.sample(range(size), random.choice([1, 2, 5, size]))))


@pytest.mark.parametrize("seed", range(30))
def test_times_are_as_a_list_of_them_all(seed: int) -> None:
    random = Random(seed)
    hours, minutes, seconds = some(random, 24), some(random, 60), some(random, 60)
    listed = [3600 * h + 60 * m + s for h in hours for m in minutes for s in seconds]
    times = Times(hours, minutes, seconds)
    assert len(times) == len(listed)
    assert list(times) == listed
    assert times.in_busiest_hour == len(minutes) * len(seconds)
    for second in (-100_000, -1, 0, 1, 86_399, 86_400, 200_000, *random.sample(range(86_400), 300)):
        assert times.before(second) == bisect_left(listed, second)
    for index in random.sample(range(len(listed)), min(100, len(listed))):
        assert times[index] == listed[index]
        assert times.before(listed[index]) == index
    for _ in range(50):
        low, high = sorted(random.choices(range(len(listed) + 1), k=2))
        assert list(times.between(low, high)) == listed[low:high]
