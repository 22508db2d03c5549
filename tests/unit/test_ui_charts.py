"""Charts are drawn from values alone, small, escaped and without any style of their own."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from scheduledjobs.core.reasons import JobState, State, Trigger
from scheduledjobs.web.models import (
    Attempt,
    Bucket,
    Execution,
    ExecutionDetail,
    HeatCell,
    Job,
    Lane,
    Outcome,
    Timeline,
)
from scheduledjobs.web.ui import charts

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
UID = UUID(int=1)


def outcome(number: int, state: State = State.SUCCEEDED, duration_ms: int | None = 100) -> Outcome:
    return Outcome(id=number, fire_time=NOON - timedelta(minutes=number), state=state, duration_ms=duration_ms)


def values(**more: Any) -> dict[str, Any]:
    start = {"id": 7, "job_id": UID, "namespace": "a", "job": "b", "version": 1, "fire_time": NOON, "handler": "log"}
    return {**start, "state": State.SUCCEEDED, "trigger": Trigger.SCHEDULE, "attempt": 1} | more


def run(**more: Any) -> Execution:
    return Execution(**values(**more))


def detail(**more: Any) -> ExecutionDetail:
    return ExecutionDetail(**values(payload={}, has_own_payload=False, attempts=[], outputs=[], **more))


def job() -> Job:
    return Job(
        id=UID, namespace="a", name="<script>", version=1, state=JobState.ACTIVE, reason="", message="", schedule="",
        words="", time_zone="Etc/UTC", handler="log", active=0, failures=0, recent=[],
    )  # fmt: skip


def timeline() -> Timeline:
    states = [State.SUCCEEDED, State.FAILED, State.SKIPPED, State.RUNNING]
    past = [outcome(i * 7, states[i % 4]) for i in range(40)]
    lane = Lane(job=job(), past=past, coming=[NOON + timedelta(hours=i) for i in range(1, 9)], is_cut=True)
    day = timedelta(hours=24)
    return Timeline(now=NOON, since=NOON - day, until=NOON + day, lanes=[lane])


def all_charts() -> dict[str, Markup]:
    step = timedelta(minutes=15)
    buckets = [Bucket(start=NOON + step * i, moments=i % 7, most_at_once=i % 3) for i in range(96)]
    runs = [run(id=i, duration_ms=i * i, lateness_ms=i, state=list(State)[i % 9]) for i in range(200)]
    cells = [HeatCell(start=NOON - timedelta(hours=5 * i), succeeded=i, failed=i % 4, not_run=1) for i in range(30)]
    attempts = [Attempt(attempt=1, state=State.FAILED, started_at=NOON, finished_at=NOON + timedelta(seconds=3))]
    half = NOON + timedelta(seconds=30)
    retried = detail(attempt=2, started_at=half, finished_at=half + timedelta(seconds=2)).model_copy(
        update={"attempts": attempts}
    )
    return {
        "sparkline": charts.sparkline([outcome(i, list(State)[i % 9], i * 10) for i in range(60)]),
        "strip24": charts.strip24(buckets),
        "duration": charts.duration_plot(runs),
        "lateness": charts.lateness_plot(runs),
        "heat": charts.heat_map(cells, "Europe/Berlin"),
        "lane": charts.lanes(timeline())[0][1],
        "axis": charts.axis(timeline()),
        "run": charts.execution_timeline(retried),
    }


@pytest.mark.parametrize("name", list(all_charts()))
def test_a_chart_is_well_formed_and_holds_no_style_and_no_script(name: str) -> None:
    text = str(all_charts()[name])
    ElementTree.fromstring(text)
    assert not re.search(r"style|script|\son\w+=|fill=|nan|inf", text)


def test_every_drawing_has_a_name() -> None:
    for name, chart in all_charts().items():
        for svg in ElementTree.fromstring(str(chart)).iter("svg"):
            child = svg.find("title")
            named = svg.get("aria-label") or (child is not None and child.text) or svg.get("aria-hidden")
            assert named, name


def test_a_sparkline_of_60_outcomes_takes_under_600_bytes() -> None:
    mixed = [outcome(i, State.FAILED if i % 9 == 0 else State.SUCCEEDED, (i * 7919) % 5000) for i in range(60)]
    assert len(charts.sparkline(mixed)) < 600


def test_a_sparkline_joins_equal_neighbours_and_puts_the_newest_at_the_right() -> None:
    calm = str(charts.sparkline([outcome(i) for i in range(60)]))
    assert 'd="M0 7V0h60V7"' in calm
    short = str(charts.sparkline([outcome(0, State.FAILED), outcome(1)]))
    assert 'class="s-failed" d="M59 7' in short
    assert "Last 2: 1 failed" in short


def test_a_state_without_a_duration_is_low() -> None:
    drawn = str(charts.sparkline([outcome(0, State.SKIPPED, None), outcome(1)]))
    assert 's-skipped" d="M59 7V6h1V7"' in drawn
    assert "1 did not run" in drawn


def test_the_strip_marks_only_buckets_where_jobs_meet() -> None:
    quiet = Bucket(start=NOON, moments=2, most_at_once=1)
    meets = Bucket(start=NOON + timedelta(minutes=15), moments=2, most_at_once=2)
    drawn = str(charts.strip24([quiet, meets]))
    assert drawn.count("chart-meets") == 1
    assert "12:15 to 12:30 UTC: 2 moments, 2 at the same instant" in drawn


def test_the_strip_says_where_not_all_jobs_are_counted() -> None:
    bucket = Bucket(start=NOON, moments=2, most_at_once=1)
    assert "not all jobs are counted" in charts.strip24([bucket], is_cut=True)
    assert "not all jobs are counted" not in charts.strip24([bucket])


def test_nothing_to_draw_is_a_sentence() -> None:
    assert "Nothing is due" in charts.strip24([])
    assert "No run has ended" in charts.duration_plot([])
    assert "No outcome" in charts.heat_map([], "Etc/UTC")
    assert "no runs yet" in charts.sparkline([])
    assert "never started: missed" in charts.execution_timeline(detail(state=State.MISSED))


def test_an_outlier_makes_the_scale_logarithmic() -> None:
    runs = [run(id=i, duration_ms=100) for i in range(20)]
    assert "logarithmic" not in charts.duration_plot(runs)
    assert "logarithmic" in charts.duration_plot([*runs, run(id=99, duration_ms=60_000)])


def test_a_failed_run_leads_to_its_execution_and_is_no_stop_for_tab() -> None:
    drawn = str(charts.duration_plot([run(id=42, duration_ms=5, state=State.FAILED)]))
    assert '<a href="/ui/executions/42" tabindex="-1" aria-hidden="true">' in drawn


def test_the_heat_map_is_in_the_zone_of_the_job_and_counts_an_hour_that_comes_twice_as_one() -> None:
    autumn = datetime(2026, 10, 25, 0, tzinfo=UTC)
    cells = [HeatCell(start=autumn + timedelta(hours=i), succeeded=1, failed=0, not_run=0) for i in range(2)]
    drawn = str(charts.heat_map(cells, "Europe/Berlin"))
    assert "Sun 25 Oct, 02:00: 2 succeeded" in drawn
    assert drawn.count("<rect") == 1


def test_the_heat_map_of_a_job_whose_zone_is_not_known_is_in_utc() -> None:
    drawn = str(charts.heat_map([HeatCell(start=NOON, succeeded=1, failed=0, not_run=0)], "Mars/Olympus"))
    assert "Tue 24 Nov, 12:00: 1 succeeded" in drawn
    assert "by day and hour in Etc/UTC" in drawn


def test_a_heat_cell_with_failures_says_how_many() -> None:
    drawn = str(charts.heat_map([HeatCell(start=NOON, succeeded=90, failed=3, not_run=0)], "Etc/UTC"))
    assert ">3</text>" in drawn


def test_the_timeline_of_a_run_names_wait_attempts_and_the_pause_between_them() -> None:
    words = re.sub("<[^>]*>", " ", str(all_charts()["run"]))
    order = ["Due", "Waited to start", "Attempt 1: failed", "Waited to try again", "Attempt 2: succeeded", "Succeeded"]
    assert [words.index(word) for word in order] == sorted(words.index(word) for word in order)
    assert "27 s" in words


def test_the_timeline_of_a_run_begins_when_it_was_due_and_not_before_its_jitter() -> None:
    due = NOON + timedelta(minutes=41)
    start, end = due + timedelta(milliseconds=4), due + timedelta(seconds=1)
    drawn = str(charts.execution_timeline(detail(due_at=due, started_at=start, finished_at=end)))
    words = " ".join(re.sub("<[^>]*>", " ", drawn).split())
    assert "1 s from due to finished" in words
    assert "Due 24 Nov 12:41:00 UTC Waited to start 4 ms" in words


def test_a_running_execution_is_drawn_until_now() -> None:
    drawn = str(charts.execution_timeline(detail(state=State.RUNNING, started_at=NOON), NOON + timedelta(seconds=9)))
    assert "9 s from due to now" in drawn


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(0, "0 ms"), (0.4, "0.4 ms"), (340, "340 ms"), (1200, "1.2 s"), (200_000, "3 min 20 s"), (7_500_000, "2 h 5 min"),
     (86_400_000, "1 d"), (-50, "\N{MINUS SIGN}50 ms")],
)  # fmt: skip
def test_a_length_of_time_has_at_most_two_units(milliseconds: float, words: str) -> None:
    assert charts.spell_ms(milliseconds) == words
