"""Faults of the link between a replica and PostgreSQL: first a follower's, then the leader's.

Behind a proxy no keepalive ends a connection, since the proxy's kernel answers: what a replica does about silence is
its own doing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tests.acceptance.conftest import until
from tests.faults.proxy import Way
from tests.faults.stage import NAMES, Stage, figures

ON_TIME_SECONDS = 0.5


def begin(stage: Stage) -> None:
    """Start everything, and wait until the whole load is under way."""
    stage.start_all()
    stage.load()
    under_way(stage)


def under_way(stage: Stage) -> None:
    """Wait until the grids of the load began two seconds ago."""
    until(lambda: stage.now() > stage.began + timedelta(seconds=2))


def follower(stage: Stage) -> str:
    """Return a replica that does not lead."""
    return str(stage.random.choice([name for name in NAMES if name != stage.leader()]))


def strike(stage: Stage, name: str, fault: Callable[[Way], object], seconds: float) -> float:
    """Let a fault of the link of one replica last so long; return the longest time without a row until 12 s after."""
    since = stage.now()
    fault(stage.db[name])
    stage.run_for(seconds)
    stage.heal()
    stage.run_for(12)
    return stage.gap(since)


def lost(stage: Stage) -> int:
    """Return how many executions were lost, whatever became of them after that."""
    attempts = stage.row("SELECT count(*) AS n FROM job_execution_attempt WHERE state = 'LOST'")["n"]
    return stage.count("state = 'LOST'") + int(attempts)


def buried(stage: Stage) -> int:
    """Return how many replicas were declared dead."""
    return len(stage.rows("SELECT 1 FROM scheduler_instance WHERE dead_at IS NOT NULL"))


def test_connections_vanish_without_a_fin(stage: Stage) -> None:
    """All present connections are silent for ever; new ones work: nobody is declared dead, nobody stops leading."""
    begin(stage)
    leader, term = stage.leader(), stage.row("SELECT term FROM leadership")["term"]
    struck: list[int] = []
    gaps = {
        "follower": strike(stage, follower(stage), lambda way: struck.append(way.vanish()), 0),
        "leader": strike(stage, str(leader), lambda way: struck.append(way.vanish()), 0),
    }
    stage.judge(figures(silent=sum(struck), gap_by_whose_link=gaps, lost=lost(stage), declared_dead=buried(stage)))
    assert min(struck) >= 3  # a follower opens what it needs
    assert gaps["follower"] < ON_TIME_SECONDS
    assert gaps["leader"] < 5
    assert (stage.leader(), stage.row("SELECT term FROM leadership")["term"]) == (leader, term)
    assert lost(stage) == buried(stage) == 0


def test_the_link_stalls_for_12_seconds(stage: Stage) -> None:
    """Longer than a replica trusts itself and than others wait for it: what it ran is lost, and nothing else."""
    begin(stage)
    leader = str(stage.leader())
    gaps = {"follower": strike(stage, follower(stage), Way.stall, 12)}
    assert stage.leader() == leader
    gaps["leader"] = strike(stage, leader, Way.stall, 12)
    assert stage.leader() != leader
    stage.judge(figures(gap_by_whose_link=gaps, lost=lost(stage), declared_dead=buried(stage)))
    assert gaps["follower"] < ON_TIME_SECONDS
    assert gaps["leader"] < 10
    assert 1 <= buried(stage) <= 2


def test_the_link_is_slow_by_200_milliseconds_each_way(stage: Stage) -> None:
    """Every answer takes 400 ms: late, but nothing stops."""
    begin(stage)

    def slow(way: Way) -> None:
        way.delay = 0.2

    gaps = {
        "follower": strike(stage, follower(stage), slow, 12),
        "leader": strike(stage, str(stage.leader()), slow, 12),
    }
    stage.judge(figures(gap_by_whose_link=gaps, lost=lost(stage), declared_dead=buried(stage)))
    assert gaps["follower"] < ON_TIME_SECONDS
    assert gaps["leader"] > 2 * ON_TIME_SECONDS  # it struck
    assert gaps["leader"] < 8
    assert lost(stage) == buried(stage) == 0


def test_connections_are_reset(stage: Stage) -> None:
    """Every present connection ends with RST, five times a second apart."""
    begin(stage)
    struck: list[int] = []

    def reset(way: Way) -> None:
        for _ in range(5):
            struck.append(way.reset())
            stage.run_for(1)

    gaps = {
        "follower": strike(stage, follower(stage), reset, 0),
        "leader": strike(stage, str(stage.leader()), reset, 0),
    }
    stage.judge(figures(reset=sum(struck), gap_by_whose_link=gaps, lost=lost(stage), declared_dead=buried(stage)))
    of_follower, of_leader = struck[:5], struck[5:]
    assert min(of_leader) >= 2  # those in use since the second before
    assert min(of_follower) >= 1  # it may have nothing to run
    assert gaps["follower"] < ON_TIME_SECONDS
    assert gaps["leader"] < 2
    assert lost(stage) == buried(stage) == 0


def test_a_link_that_is_refused_and_given_back(stage: Stage) -> None:
    """New connections are refused and the present ones end: a follower is away for 6 s, and trusted again after it."""
    begin(stage)

    def refuse(way: Way) -> None:
        way.refused = True
        assert way.cut() >= 3  # a follower opens what it needs

    gap = strike(stage, follower(stage), refuse, 6)
    stage.judge(figures(gap=gap, lost=lost(stage), declared_dead=buried(stage)))
    assert gap < ON_TIME_SECONDS
    assert lost(stage) == buried(stage) == 0
