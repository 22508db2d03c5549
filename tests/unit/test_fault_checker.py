"""The checker of the fault scenarios finds what it is there to find: each kind of damage, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.faults.checker import Evidence, check

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SPEC = {"fixedRate": "1s", "startTime": "2026-03-01T12:00:00Z", "retry": {"limit": 1}}
SECONDS = 5


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A moment that was run and succeeded, 10 ms late and for half a second."""
    moment = at(number)
    times = {"started_at": moment + timedelta(milliseconds=10), "finished_at": moment + timedelta(milliseconds=510)}
    job = {"job_id": "uid", "namespace": "team", "job_name": "job", "version": 1, "run_key": "", "handler": "witness"}
    found = {"id": number, "fire_time": moment, "state": "SUCCEEDED", "attempt": 1, "claim_no": 1, **times, **job}
    return {**found, "last_fire_time": None, "moment_count": None, **changes}


def note(what: str, number: int, second: float, **changes: Any) -> dict[str, Any]:
    wall = at(second).timestamp()
    who = {"id": number, "job": "job", "job_id": "uid", "claim_no": 1, "pid": 1}
    return {**who, "what": what, "at": wall, "wall": wall, **changes}


def evidence() -> Evidence:
    """Five seconds in which all went well."""
    job = {"id": "uid", "namespace": "team", "name": "job", "deleted_at": None}
    effective_from = at(-3)
    version = {"job_id": "uid", "version": 1, "seq": 1, "recorded_at": effective_from, "effective_from": effective_from}
    numbers = range(SECONDS)
    return Evidence(
        began=START,
        until=at(SECONDS - 0.5),
        jobs=[job],
        versions=[{**version, "spec": SPEC}],
        rows=[row(number) for number in numbers],
        notes=[
            made
            for number in numbers
            for made in (note("start", number, number + 0.01), note("end", number, number + 0.51))
        ],
        audit=[{"execution_id": number, "term": 1, "at": at(number)} for number in numbers],
    )


def test_nothing_is_found_where_all_went_well() -> None:
    verdict = check(evidence())
    assert verdict.findings == []
    assert (verdict.due, verdict.rows, verdict.gap) == (SECONDS, SECONDS, timedelta(seconds=1))


def lost(found: Evidence) -> None:
    found.rows = [each for each in found.rows if each["id"] != 2]
    found.notes = [each for each in found.notes if each["id"] != 2]


def doubled(found: Evidence) -> None:
    found.rows = [*found.rows, row(2, id=9, state="SKIPPED", started_at=None)]


def not_due(found: Evidence) -> None:
    found.rows = [*found.rows, row(2.5, id=9, state="SKIPPED", started_at=None)]  # type: ignore[arg-type]


def too_long_a_range(found: Evidence) -> None:
    lost(found)
    found.rows = [*found.rows, row(2, state="MISSED", started_at=None, last_fire_time=at(2), moment_count=2)]


def ran_without_a_row(found: Evidence) -> None:
    found.notes = [*found.notes, note("start", 77, 1.0)]


def ran_though_skipped(found: Evidence) -> None:
    found.rows = [row(2, state="SKIPPED", started_at=None) if each["id"] == 2 else each for each in found.rows]


def a_claim_started_twice(found: Evidence) -> None:
    found.notes = [*found.notes, note("start", 2, 2.3, pid=2)]


def more_starts_than_attempts(found: Evidence) -> None:
    found.notes = [*found.notes, note("start", 2, 2.6, claim_no=2), note("end", 2, 2.7, claim_no=2)]


def more_attempts_than_retries(found: Evidence) -> None:
    found.rows = [row(2, attempt=3) if each["id"] == 2 else each for each in found.rows]


def succeeded_unseen(found: Evidence) -> None:
    found.notes = [each for each in found.notes if (each["id"], each["what"]) != (2, "end")]
    found.died = {1: at(2.2).timestamp()}


def early(found: Evidence) -> None:
    found.notes = [
        note("start", 2, 1.99) if (each["id"], each["what"]) == (2, "start") else each for each in found.notes
    ]


def said_to_be_early(found: Evidence) -> None:
    found.rows = [row(2, started_at=at(1.9)) if each["id"] == 2 else each for each in found.rows]


def overlapping(found: Evidence) -> None:
    found.notes = [note("end", 2, 3.2) if (each["id"], each["what"]) == (2, "end") else each for each in found.notes]


def a_stale_term(found: Evidence) -> None:
    found.audit = [{**each, "term": {0: 1, 1: 1, 2: 2, 3: 1, 4: 2}[each["execution_id"]]} for each in found.audit]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lost, "lost"),
        (doubled, "doubled"),
        (not_due, "not due"),
        (too_long_a_range, "not due"),
        (ran_without_a_row, "attempts"),
        (ran_though_skipped, "attempts"),
        (a_claim_started_twice, "attempts"),
        (more_starts_than_attempts, "attempts"),
        (more_attempts_than_retries, "attempts"),
        (succeeded_unseen, "attempts"),
        (early, "early"),
        (said_to_be_early, "early"),
        (overlapping, "overlap"),
        (a_stale_term, "stale term"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_each_kind_of_damage_is_found(damage: Callable[[Evidence], None], kind: str) -> None:
    found = evidence()
    damage(found)
    assert kind in {finding.kind for finding in check(found).findings}


def test_a_process_that_stood_still_may_run_on_for_a_moment_after_it_wakes() -> None:
    found = evidence()
    overlapping(found)
    found.frozen = frozenset({1})
    assert check(found).findings == []


def test_a_fixed_delay_counts_from_the_end_of_the_run_before() -> None:
    found = evidence()
    found.versions = [{**found.versions[0], "spec": {"fixedDelay": "1s"}}]
    found.rows = [row(0), row(1.51, id=1), row(3.02, id=2)]  # type: ignore[arg-type]
    found.notes = []
    assert {finding.kind for finding in check(found).findings} == {"attempts"}  # nobody saw them run
    found.rows = [row(0), row(1.6, id=1)]  # type: ignore[arg-type]
    assert "not due" in {finding.kind for finding in check(found).findings}
    found.rows = [row(0, finished_at=None), row(1.6, id=1)]  # type: ignore[arg-type]
    assert "doubled" in {finding.kind for finding in check(found).findings}
