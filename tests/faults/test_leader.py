"""Faults of the leader: stopped, killed, frozen at the worst moments."""

from __future__ import annotations

from tests.faults.stage import Stage, figures

LEASE_SECONDS = 5.0


def test_nothing_happens(stage: Stage) -> None:
    """The load alone: the ruler by which the other figures are read."""
    stage.start_all()
    stage.load()
    stage.run_for(10)
    stage.judge(figures(connections=stage.row("SELECT count(*) AS n FROM pg_stat_activity")["n"]))
