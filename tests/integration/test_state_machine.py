"""A machine that does to a scheduler what people and outages do, in any order; books and an oracle read the ledger.

SCHEDULEDJOBS_TEST_RUNS sets how many runs of 30 steps (200; the project's claim is 2,000), SCHEDULEDJOBS_TEST_SEED
their seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis.stateful import run_state_machine_as_test
from tests.integration.ledger_machine import LedgerMachine
from tests.integration.ledger_world import World
from tests.oracle.ledger_oracle import Rules

RUNS = int(os.environ.get("SCHEDULEDJOBS_TEST_RUNS", "200"))
SEED = int(os.environ.get("SCHEDULEDJOBS_TEST_SEED", "0")) or Random().randrange(1, 2**31)
STEPS = 30
SHRINK_SECONDS = 60


@pytest.fixture
def world(database: str) -> Iterator[World]:
    made = World(database)
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["once", "window"])
def test_a_job_whose_pause_ended_unseen_is_decided_by_the_suspension_after_it(world: World, kind: str) -> None:
    """What the machine found: the pause ends, all that is left of the job is due, and the edit decides it, all in one
    action."""
    state = type("Machine", (LedgerMachine,), {"world": world})()
    rules = Rules("FireOnce", 5, timedelta(days=1), timedelta(0))
    state.begin(datetime(2027, 3, 10, 10, 17, 23, 400000, UTC), kind, "Forbid", rules, retries=False)
    state.pause(5)
    state.nobody_leads(700)
    state.suspend_or_resume(suspend=True)
    state.teardown()


@pytest.mark.parametrize("kind", ["once", "every 10 s", "rate", "delay"])
def test_a_job_that_is_suspended_before_the_jitter_of_a_moment_is_over_is_as_its_book_says(
    world: World, kind: str
) -> None:
    """Steps of whole seconds seldom come between the two, so the machine finds little of it."""
    state = type("Machine", (LedgerMachine,), {"world": world})()
    rules = Rules("FireOnce", 5, timedelta(days=1), timedelta(seconds=3))
    state.begin(datetime(2027, 3, 10, 10, 17, 23, 400000, UTC), kind, "Forbid", rules, retries=False)
    ((job,), now) = world.run(world.rows("SELECT * FROM job_definition")), world.run(world.now())
    between = job["next_fire_at"] + (job["next_due_at"] - job["next_fire_at"]) / 2
    world.run(world.tick(between - now))
    state.suspend_or_resume(suspend=True)
    state.fire(10)
    state.sweep()
    state.suspend_or_resume(suspend=False)
    state.fire(31)
    state.teardown()


@pytest.mark.timeout(300 + 2 * RUNS)
def test_every_due_moment_has_exactly_one_row_whatever_is_done(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypothesis.internal.conjecture.engine.MAX_SHRINKING_SECONDS", SHRINK_SECONDS)
    chosen = settings(
        max_examples=RUNS,
        stateful_step_count=STEPS,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    with capsys.disabled():
        print(f"\nledger machine: {RUNS} runs of {STEPS} steps, seed {SEED}, {datetime.now(UTC):%H:%M:%S}")
    machine = type("Machine", (LedgerMachine,), {"world": world})
    run_state_machine_as_test(with_seed(SEED)(machine), settings=chosen)
