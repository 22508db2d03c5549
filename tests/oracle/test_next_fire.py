"""next_fire against the brute-force oracle, over every transition of every zone from 2020 to 2035."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from scheduledjobs.core.schedule import moments, next_fire, parse_schedule
from scheduledjobs.core.zone import transitions_of

sys.path.insert(0, str(Path(__file__).parent))
import cron_oracle as oracle

SEED = 20261123
AROUND = 20 * 3600
FIRST, LAST = 2020, 2035


def compare(name: str, tz: Any, transition: int, expression: str, minutes: list[oracle.Minute]) -> None:
    schedule = parse_schedule(schedule=expression, time_zone=name)
    expected = oracle.due(expression, minutes)
    start, end = minutes[0].instant - 1, minutes[-1].instant
    found = moments(schedule, datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))
    where = f"{expression!r} in {name} around {datetime.fromtimestamp(transition, UTC)}"
    assert [int(moment.timestamp()) for moment in found] == expected, where
    assert found.count == len(expected), where
    walked, moment = [], datetime.fromtimestamp(start, UTC)
    while len(walked) < 5 and (following := next_fire(schedule, moment)) and following.timestamp() <= end:
        walked.append(int(following.timestamp()))
        moment = following
    assert walked == expected[:5], where


@pytest.mark.timeout(900)
def test_next_fire_equals_brute_force_at_every_transition(capsys: Any) -> None:
    random = Random(SEED)
    cases = zones = 0
    for name in oracle.all_zones():
        tz = oracle.zone(name)
        found = oracle.transitions(tz, FIRST, LAST)
        ours = [change.at for year in range(FIRST, LAST + 1) for change in transitions_of(tz, year)]
        assert ours == found, name
        zones += 1
        for transition in found:
            minutes = oracle.timeline(tz, transition - AROUND, transition + AROUND)
            chosen = oracle.expressions(random, minutes[AROUND // 60].local[1])
            for _ in range(2):
                compare(name, tz, transition, next(chosen), minutes)
                cases += 1
    with capsys.disabled():
        print(f"\nnext_fire against brute force: {cases} cases, {zones} zones, seed {SEED}")
    assert cases > 10_000
