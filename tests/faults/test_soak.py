"""A random mix of faults, judged window after window: three minutes in CI, hours by `make soak HOURS=6`.

The seed is printed; SCHEDULEDJOBS_TEST_SEED sets it. The moments at which faults strike are the machine's, so a seed
brings back the same faults and not the same microseconds.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.faults.nemesis import CHURNED, SURVIVOR, Nemesis, bring_back, churned
from tests.faults.stage import Stage, figures, load
from tests.faults.test_leader import strike_around_commits

SECONDS = float(os.environ.get("SCHEDULEDJOBS_TEST_HOURS", "0.05")) * 3600
WINDOW_SECONDS = 600.0
HEALED_SECONDS = 45.0
SLOPE_MIB_PER_HOUR = 20.0


@pytest.mark.timeout(SECONDS * 1.5 + 600)
def test_random_mix(stage: Stage) -> None:
    stage.start_all()
    start = (datetime.now(UTC) + timedelta(seconds=5)).replace(microsecond=0)
    stage.load([*load(start), *(churned(number, start) for number in range(CHURNED))])
    nemesis, memory = Nemesis(stage), []
    began = time.monotonic()
    until = began + SECONDS
    while time.monotonic() < until:
        window = min(time.monotonic() + WINDOW_SECONDS, until)
        while time.monotonic() < window:
            nemesis.round()
        bring_back(stage)
        memory.append((time.monotonic() - began, stage.rss(SURVIVOR)))
        strikes = dict(sorted(nemesis.counts.items()))
        stage.judge(
            figures(
                faults=sum(strikes.values()),
                rss_mib=memory[-1][1],
                slope_mib_per_hour=slope(memory),
            ),
            HEALED_SECONDS,
        )
    stage.tell(figures(strikes=strikes))
    if len(memory) >= 6:
        assert slope(memory[2:]) < SLOPE_MIB_PER_HOUR, memory


@pytest.mark.skipif(SECONDS < 3600, reason="part of a soak of an hour or more")
@pytest.mark.timeout(3600)
def test_leader_killed_at_two_hundred_points(stage: Stage) -> None:
    strike_around_commits(stage, "killed", 200)


def slope(points: list[tuple[float, float]]) -> float:
    """Return how fast the memory grows, in MiB an hour, by least squares; 0 where there is one point only."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
