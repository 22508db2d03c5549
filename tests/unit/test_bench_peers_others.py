"""Peers of the benchmark that are not Python: what is read of a watch of Jobs, and of a pom.xml."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from benchmarks.peers import db_scheduler, java, quartz
from benchmarks.peers.cronjob_controller import SCHEDULED, expected, late, row

MINUTE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def line(scheduled: str, kind: str = "ADDED") -> bytes:
    return json.dumps({"type": kind, "object": {"metadata": {"annotations": {SCHEDULED: scheduled}}}}).encode() + b"\n"


def test_a_job_is_late_by_the_time_from_its_minute_to_the_line_of_the_watch() -> None:
    first = MINUTE.timestamp()
    seen = [(first + 0.125, line("2026-03-01T12:00:00Z")), (first + 90.5, line("2026-03-01T12:01:00Z"))]
    assert late(seen, first, 2) == [125, 30500]


def test_jobs_of_other_minutes_and_changes_of_jobs_do_not_count() -> None:
    first = MINUTE.timestamp()
    before, after = line("2026-03-01T11:59:00Z"), line("2026-03-01T12:01:00Z")
    change = line("2026-03-01T12:00:00Z", "MODIFIED")
    assert late([(first + 1, before), (first + 1, after), (first + 1, change)], first, 1) == []


def test_a_row_says_how_many_jobs_are_missing() -> None:
    assert row([100.0, 300.0], expected(1, 3)).endswith("last 300 ms, missing 1 of 3")
    assert row([], 3) == "missing 3 of 3"


@pytest.mark.parametrize(("folder", "artifact"), [("db-scheduler", "db-scheduler"), ("quartz", "quartz")])
def test_a_release_is_read_from_the_pom(folder: str, artifact: str) -> None:
    assert java.release(folder, artifact)[0].isdecimal()
    with pytest.raises(LookupError):
        java.release(folder, "nothing-of-that-name")


def test_only_the_form_with_history_says_that_it_keeps_one() -> None:
    for peer in (*db_scheduler.PEERS, *quartz.PEERS):
        assert peer.keeps_history == peer.with_history == (peer.finished is not None)
