"""The schedules: what is due when, and what is refused."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from scheduledjobs.core.duration import format_duration, parse_duration
from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.schedule import (
    FixedDelay,
    FixedRate,
    OneShot,
    Window,
    first_fire,
    moments,
    next_fire,
    parse_schedule,
)
from scheduledjobs.core.words import words
from scheduledjobs.core.zone import transitions_of
from scheduledjobs.errors import SpecError

sys.path.insert(0, str(Path(__file__).parents[1] / "oracle"))
import cron_oracle as oracle

SECOND = timedelta(seconds=1)
JUST_BEFORE = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(expression: str, zone: str, after: str, count: int) -> list[str]:
    schedule, found, moment = parse_schedule(schedule=expression, time_zone=zone), [], at(after)
    for _ in range(count):
        following = next_fire(schedule, moment)
        assert following is not None
        moment = following
        found.append(f"{moment:%m-%dT%H:%M}")
    return found


def test_fixed_time_fires_once_in_an_overlap_in_its_first_pass() -> None:
    assert fires("30 1 * * *", "America/New_York", "2026-11-01T00:00", 2) == ["11-01T05:30", "11-02T06:30"]


def test_fixed_time_in_a_gap_fires_at_the_first_instant_after_it() -> None:
    assert fires("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00", 2) == ["03-28T01:00", "03-29T00:30"]


def test_fixed_times_in_one_gap_fire_once() -> None:
    assert fires("15,45 2 * * *", "Europe/Berlin", "2027-03-27T12:00", 2) == ["03-28T01:00", "03-29T00:15"]


def test_wildcard_follows_real_time_in_both_passes_of_an_overlap() -> None:
    assert fires("*/30 1 * * *", "America/New_York", "2026-11-01T05:00", 4) == [
        "11-01T05:30", "11-01T06:00", "11-01T06:30", "11-02T06:00",
    ]  # fmt: skip


def test_wildcard_does_not_fire_in_a_gap() -> None:
    assert fires("*/30 2 * * *", "Europe/Berlin", "2027-03-27T12:00", 1) == ["03-29T00:00"]


def test_half_hour_transition_of_lord_howe() -> None:
    assert fires("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00", 2) == ["10-03T15:30", "10-04T15:15"]


def test_a_day_that_a_zone_skipped_fires_when_the_next_one_begins() -> None:
    schedule = parse_schedule(schedule="0 12 30 12 *", time_zone="Pacific/Apia")
    assert next_fire(schedule, at("2011-12-01T00:00")) == at("2011-12-30T10:00")


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 0 L * *", "2028-02-01T00:00", "02-29T00:00"),
        ("0 0 * * 5#3", "2026-11-01T00:00", "11-20T00:00"),
        ("0 0 * * L5", "2026-11-01T00:00", "11-27T00:00"),
        ("0 0 13 * FRI", "2026-11-07T00:00", "11-13T00:00"),
        ("0 0 1 * MON", "2026-11-23T12:00", "11-30T00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00", "02-29T00:00"),
        ("@monthly", "2026-11-23T12:00", "12-01T00:00"),
    ],
)
def test_days_that_cron_names(expression: str, after: str, expected: str) -> None:
    assert fires(expression, "Etc/UTC", after, 1) == [expected]


def test_six_fields_have_seconds_first() -> None:
    schedule = parse_schedule(schedule="*/20 * * * * *")
    assert next_fire(schedule, at("2026-01-01T00:00:20")) == at("2026-01-01T00:00:40")


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("0 0 31 2 *", "never comes"),
        ("TZ=UTC 0 0 * * *", "must not name a zone"),
        ("@reboot", "must be one of"),
        ("@every 5m", "use fixedRate"),
        ("60 * * * *", "is not cron"),
        ("* * * *", "must have 5 fields"),
        ("0 0 * * MON;DROP", "character"),
        ("*/0 * * * *", "is not cron"),
        ("", "must have 5 fields"),
    ],
)
def test_refuses_with_a_sentence(expression: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence) as caught:
        parse_schedule(schedule=expression)
    assert caught.value.reason is Reason.INVALID_SCHEDULE


@pytest.mark.parametrize("zone", ["Mars/Base", "Local", "../etc/passwd", "europe/berlin", ""])
def test_refuses_an_unknown_zone(zone: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_schedule(schedule="0 0 * * *", time_zone=zone)
    assert caught.value.reason is Reason.UNKNOWN_TIME_ZONE


def test_refuses_two_schedules_at_once() -> None:
    with pytest.raises(SpecError, match="exactly one"):
        parse_schedule(schedule="0 0 * * *", fixed_rate=SECOND)


def test_sample_of_the_oracle() -> None:
    random, cases = Random(7), 0
    for name in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Gaza"):
        tz = oracle.zone(name)
        for transition in oracle.transitions(tz, 2026, 2027):
            minutes = oracle.timeline(tz, transition - 36_000, transition + 36_000)
            for expression, _ in zip(oracle.expressions(random, minutes[600].local[1]), range(6), strict=False):
                found = moments(
                    parse_schedule(schedule=expression, time_zone=name),
                    datetime.fromtimestamp(minutes[0].instant - 1, UTC),
                    datetime.fromtimestamp(minutes[-1].instant, UTC),
                )
                assert [int(m.timestamp()) for m in found] == oracle.due(expression, minutes), (name, expression)
                cases += 1
    assert cases > 100


@given(
    minute=st.sampled_from(["*", "*/7", "5", "10-20", "0,30"]),
    hour=st.sampled_from(["*", "*/5", "3", "8-17"]),
    day=st.sampled_from(["*", "1", "15,31", "*/10"]),
    weekday=st.sampled_from(["*", "1-5", "0", "6"]),
    start=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2035, 1, 1)),  # noqa: DTZ001 made aware below
)
def test_equals_croniter_where_there_is_no_dst(minute: str, hour: str, day: str, weekday: str, start: datetime) -> None:
    expression, after = f"{minute} {hour} {day} * {weekday}", start.replace(microsecond=0, tzinfo=UTC)
    expected = croniter(expression, after).get_next(datetime)
    assert next_fire(parse_schedule(schedule=expression), after) == expected


@pytest.mark.parametrize("expression", ["0 0 * * 0", "0 0 1 * *", "0 0 1 */6 *", "*/5 * * * *"])
def test_the_next_moment_of_some_months_is_found_without_looking_at_decades_of_a_zone(expression: str) -> None:
    transitions_of.cache_clear()
    assert next_fire(parse_schedule(schedule=expression, time_zone="Asia/Gaza"), at("2026-06-05T00:00")) is not None
    assert transitions_of.cache_info().misses <= 2


@pytest.mark.parametrize("year", [1970, 2515, 8999])
def test_a_cron_is_due_at_its_very_start_however_far_ahead_that_is(year: int) -> None:
    start = datetime(year, 5, 1, tzinfo=UTC)
    schedule = parse_schedule(schedule="* * * * *", start_time=start, end_time=start + timedelta(minutes=2))
    assert next_fire(schedule, start - timedelta(days=1)) == start
    assert list(moments(schedule, start - SECOND, start + timedelta(hours=1))) == [start, start + timedelta(minutes=1)]


def test_fixed_rate_is_a_grid_from_its_anchor() -> None:
    rate, anchor = FixedRate(timedelta(seconds=7)), at("2026-01-01T00:00:00.500")
    assert next_fire(rate, anchor, anchor) == anchor + 7 * SECOND
    assert next_fire(rate, anchor + 7 * SECOND - JUST_BEFORE, anchor) == anchor + 7 * SECOND
    assert next_fire(rate, anchor + 365 * 86_400 * SECOND, anchor) == anchor + (365 * 86_400 // 7 + 1) * 7 * SECOND


def test_fixed_rate_with_a_start_time_counts_it_as_its_first_moment() -> None:
    start = at("2026-01-01T00:00")
    rate = FixedRate(timedelta(hours=1), Window(start, start + timedelta(hours=2)))
    assert next_fire(rate, start - timedelta(days=1)) == start
    assert next_fire(rate, start + timedelta(hours=1)) is None


def test_fixed_delay_counts_from_the_end_of_the_last_run() -> None:
    assert next_fire(FixedDelay(timedelta(seconds=30)), at("2026-01-01T00:00:10")) == at("2026-01-01T00:00:40")


def test_fixed_delay_first_fires_at_a_start_time_ahead() -> None:
    start = at("2026-01-02T00:00")
    assert first_fire(FixedDelay(SECOND, Window(start)), at("2026-01-01T00:00")) == start
    assert first_fire(FixedDelay(SECOND), at("2026-01-01T00:00")) == at("2026-01-01T00:00:01")


def test_one_shot_is_due_once() -> None:
    shot = OneShot(at("2026-01-01T00:00"))
    assert next_fire(shot, at("2025-01-01T00:00")) == at("2026-01-01T00:00")
    assert next_fire(shot, at("2026-01-01T00:00")) is None


def test_moments_of_a_rate_are_counted_without_being_listed() -> None:
    anchor = at("2026-01-01T00:00")
    found = moments(FixedRate(SECOND), anchor, anchor + timedelta(days=365), anchor)
    assert (found.count, found.first) == (365 * 86_400, anchor + SECOND)
    assert found.last == anchor + timedelta(days=365)


def test_the_window_ends_before_its_end() -> None:
    schedule = parse_schedule(schedule="0 * * * *", end_time=at("2026-01-01T02:00"))
    assert [m.hour for m in moments(schedule, at("2025-12-31T23:30"), at("2026-01-02T00:00"))] == [0, 1]


@pytest.mark.parametrize("zone", ["Etc/UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_cron_has_no_next_moment_where_the_time_that_python_has_ends(zone: str) -> None:
    schedule = parse_schedule(schedule="*/30 * * * *", time_zone=zone)
    found = next_fire(schedule, at("9998-12-29T12:00"))
    assert found == at("9998-12-29T12:30")
    while found is not None:
        latest, found = found, next_fire(schedule, found)
    assert latest == at("9998-12-30T23:30")
    assert next_fire(schedule, at("9999-12-31T23:59")) is None


@pytest.mark.parametrize("text", ["1h30m", "90s", "500ms", "1h1m1s1ms", "0s"])
def test_durations_are_read_and_written(text: str) -> None:
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


@pytest.mark.parametrize("text", ["1d", "5", "", "-5s", "1.5s", "1 m", "s"])
def test_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


def test_says_schedules_in_words() -> None:
    assert words(parse_schedule(schedule="0 2 * * *")) == "At 02:00"
    assert words(parse_schedule(schedule="0 2 * * MON,5#3")) == "At the moments of 0 2 * * MON,5#3"
    assert words(parse_schedule(schedule="0 2 *,5 * *")) == "At the moments of 0 2 *,5 * *"
    assert (
        words(parse_schedule(schedule="0 2 1,5 JUL,AUG *"))
        == "At 02:00, on day 1 and 5 of the month, only in July and August"
    )
    assert words(parse_schedule(fixed_rate=90 * SECOND)) == "Every 1m30s"
    assert "30s after" in words(parse_schedule(fixed_delay=30 * SECOND))
    at = datetime(2026, 11, 24, 19, 38, 16, tzinfo=timezone(timedelta(hours=1)))
    assert words(parse_schedule(run_at=at)) == "Once, on 2026-11-24 at 18:38:16 UTC"
