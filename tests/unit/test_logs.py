"""The replica's own log: bounded, whatever jobs do."""

from __future__ import annotations

from scheduledjobs.logs import Seldom


def test_a_job_that_fails_again_and_again_has_one_line_a_minute_which_counts_the_others() -> None:
    now = 0.0
    seldom = Seldom(lambda: now)
    assert [seldom.ask("job") for _ in range(5)] == [0, None, None, None, None]
    assert seldom.ask("other") == 4
    now = 60.0
    assert seldom.ask("job") == 0


def test_however_many_jobs_fail_the_lines_of_a_minute_are_bounded() -> None:
    now = 0.0
    seldom = Seldom(lambda: now)
    assert sum(seldom.ask(n) is not None for n in range(10_000)) == Seldom.MOST
    now = 60.0
    assert seldom.ask(0) == 10_000 - Seldom.MOST
