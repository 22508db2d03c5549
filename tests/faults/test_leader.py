"""Faults of the leader: stopped, killed and frozen, at any moment and at the worst ones."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import datetime
from functools import partial
from statistics import median

import pytest
from tests.acceptance.conftest import until
from tests.faults.proxy import Trap
from tests.faults.stage import NAMES, Stage, figures

LEASE_SECONDS = 5.0
LEADER = b"scheduledjobs leader"
HAND_OVERS = 10


def test_nothing_happens(stage: Stage) -> None:
    """The load alone: the ruler by which the other figures are read."""
    stage.start_all()
    stage.load()
    stage.run_for(10)
    stage.judge(figures(connections=stage.row("SELECT count(*) AS n FROM pg_stat_activity")["n"]))


def next_rows(stage: Stage, leader: str, since: datetime) -> float:
    """Wait until another replica leads and rows flow again; return the longest time without one, in seconds."""
    stage.wait_leader(other_than=leader)
    flowing = "SELECT count(*) AS n FROM audit WHERE at > clock_timestamp() - interval '1 s' AND term ="
    until(lambda: stage.row(f"{flowing} (SELECT term FROM leadership)")["n"] > 5)
    return stage.gap(since)


def hand_over(stage: Stage, number: signal.Signals) -> float:
    """Take the leader away, wait for the next one and bring the old one back; return the longest gap in seconds."""
    leader, since = stage.wait_leader(), stage.now()
    if number is signal.SIGTERM:
        stage.terminate(leader)
    elif number is signal.SIGKILL:
        stage.kill(leader)
    else:
        stage.freeze(leader)
    gap = next_rows(stage, leader, since)
    if number is signal.SIGSTOP:
        stage.thaw(leader)
    else:
        stage.start(leader)
    until(lambda: stage.is_ready(leader), 30)
    return gap


@pytest.mark.parametrize(
    ("number", "limit"),
    [(signal.SIGTERM, 0.5), (signal.SIGKILL, 2.5), (signal.SIGSTOP, LEASE_SECONDS + 1)],
    ids=["sigterm", "sigkill", "sigstop"],
)
def test_hand_over(stage: Stage, number: signal.Signals, limit: float) -> None:
    """The time without a row, from the audit; what a frozen leader does when it wakes is judged at the end."""
    stage.start_all()
    stage.load()
    stage.run_for(5)
    gaps = [hand_over(stage, number) for _ in range(HAND_OVERS)]
    stage.judge(figures(median_gap_s=median(gaps), longest_s=max(gaps)))
    assert median(gaps) < limit, gaps


def at_a_point(stage: Stage, act: Callable[[], None]) -> Trap:
    """Set a trap in a fire's transaction: in the middle of its bytes, before its COMMIT, in it, or after it."""
    point = stage.random.choice(("batch", "before", "in", "after"))
    trap = {
        "batch": Trap("sent", b"", LEADER, act, share=stage.random.random()),
        "before": Trap("sent", b"COMMIT", LEADER, act),
        "in": Trap("sent", b"COMMIT", LEADER, act, answered=True),
        "after": Trap("answer", b"COMMIT\0", LEADER, act, share=1.0),
    }[point]
    stage.db[stage.wait_leader()].traps.append(trap)
    return trap


@pytest.mark.parametrize(("how", "points"), [("killed", 60), ("frozen", 6)], ids=["killed", "frozen"])
def test_leader_at_points_around_its_commit(stage: Stage, how: str, points: int) -> None:
    """Killed at sixty points; frozen at six, until another leads, and then awake in the middle of its transaction."""
    strike_around_commits(stage, how, points)


def strike_around_commits(stage: Stage, how: str, points: int) -> None:
    """Strike whoever leads, again and again, each time at another point of a fire's transaction."""
    stage.start_all()
    stage.load()
    stage.run_for(4)
    gaps = []
    for _ in range(points):
        leader, since = stage.wait_leader(), stage.now()
        strike = stage.kill if how == "killed" else stage.freeze
        trap = at_a_point(stage, partial(strike, leader))
        trap.cut = how == "killed"
        until(trap.sprung.is_set, 10)
        gaps.append(next_rows(stage, leader, since))
        if how == "killed":
            stage.start(leader)
        else:
            stage.thaw(leader)
        until(lambda leader=leader: stage.is_ready(leader), 30)
    stage.judge(figures(points=len(gaps), median_gap_s=median(gaps), longest_s=max(gaps)))
    assert median(gaps) < (2.5 if how == "killed" else LEASE_SECONDS + 1)


def test_a_random_replica_is_killed_every_five_seconds_for_two_minutes(stage: Stage) -> None:
    stage.start_all()
    stage.load()
    kills = 24
    for _ in range(kills):
        name = stage.random.choice(NAMES)
        until(lambda: len(stage.living()) == len(NAMES))
        stage.kill(name)
        stage.run_for(1)
        stage.start(name)
        stage.run_for(4)
    for name in NAMES:
        until(lambda name=name: stage.is_ready(name), 30)
    lost = stage.count("state = 'LOST'")
    stage.judge(figures(kills=kills, runs_lost=lost), 45)
    assert lost < stage.count("true") / 4
