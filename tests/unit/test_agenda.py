"""The next moments of a schedule, and the sentences where the clocks of its zone do something."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduledjobs.core.agenda import Bucket, buckets, fires
from scheduledjobs.core.schedule import Schedule, parse_schedule

BERLIN = "Europe/Berlin"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def cron(text: str, zone: str = BERLIN) -> Schedule:
    return parse_schedule(schedule=text, time_zone=zone)


def told(text: str, after: str, count: int = 3, zone: str = BERLIN) -> list[tuple[str, str | None]]:
    found = fires(cron(text, zone), datetime.fromisoformat(after), count)
    assert all(fire.at.timestamp() == fire.local.timestamp() for fire in found)
    return [(f"{fire.local:%d %H:%M %z}", fire.note) for fire in found]


def test_a_time_that_the_clocks_skip_is_named() -> None:
    assert told("30 2 * * *", "2026-03-27T12:00Z") == [
        ("28 02:30 +0100", None),
        (
            "29 03:00 +0200",
            "02:30 does not exist that day in Europe/Berlin: the clocks go forward; "
            "from here on +0200 instead of +0100",
        ),
        ("30 02:30 +0200", None),
    ]


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        ("10,50", "02:10 and 02:50 do not exist that day"),
        ("10,20,30,40", "02:10, 02:20 and 2 more do not exist that day"),
    ],
)
def test_several_times_that_the_clocks_skip_are_one_moment(minutes: str, said: str) -> None:
    ((_, note),) = told(f"{minutes} 2 * * *", "2026-03-28T12:00Z", 1)
    assert note == f"{said} in Europe/Berlin: the clocks go forward"


def test_a_day_that_a_zone_skips_is_named() -> None:
    found = told("30 2 * * *", "2011-12-29T00:00Z", 2, "Pacific/Apia")
    assert found[1] == (
        "31 00:00 +1400",
        "02:30 of 2011-12-30 does not exist in Pacific/Apia: the clocks go forward; "
        "from here on +1400 instead of -1000",
    )


def test_a_time_at_the_end_of_a_gap_that_swallowed_nothing_is_not_explained() -> None:
    assert told("0 3 * * *", "2026-03-28T12:00Z", 1) == [("29 03:00 +0200", None)]


def test_a_time_that_comes_twice_is_fired_once() -> None:
    assert told("30 2 * * *", "2026-10-24T12:00Z", 2) == [
        ("25 02:30 +0200", "02:30 comes twice that day; this is the first time, and the only one that fires"),
        ("26 02:30 +0100", "from here on +0100 instead of +0200"),
    ]


def test_both_passes_of_a_real_time_schedule_are_told_apart() -> None:
    assert told("*/30 2 * * *", "2026-10-24T12:00Z", 5) == [
        ("25 02:00 +0200", "02:00 comes twice that day: first pass"),
        ("25 02:30 +0200", "02:30 comes twice that day: first pass"),
        ("25 02:00 +0100", "02:00 comes twice that day: second pass; from here on +0100 instead of +0200"),
        ("25 02:30 +0100", "02:30 comes twice that day: second pass"),
        ("26 02:00 +0100", None),
    ]


def test_the_kinds_that_follow_no_clock_are_told_in_the_zone_that_is_asked_for_without_notes() -> None:
    grid = parse_schedule(fixed_rate=HOUR)
    found = fires(grid, datetime(2026, 10, 25, tzinfo=UTC), 3, datetime(2026, 1, 1, tzinfo=UTC), zone=BERLIN)
    assert [f"{fire.local:%H:%M %z}" for fire in found] == ["02:00 +0100", "03:00 +0100", "04:00 +0100"]
    assert [fire.note for fire in found] == [None] * 3


def test_a_fixed_delay_has_at_most_the_moment_that_is_recorded() -> None:
    delay = parse_schedule(fixed_delay=HOUR)
    assert fires(delay, NOON, 10) == []
    assert [fire.at for fire in fires(delay, NOON, 10, known=NOON + DAY)] == [NOON + DAY]


def test_a_one_shot_has_one_moment_and_a_window_ends_the_list() -> None:
    assert [fire.at for fire in fires(parse_schedule(run_at=NOON), NOON - DAY, 10)] == [NOON]
    ending = parse_schedule(fixed_rate=HOUR, start_time=NOON, end_time=NOON + 2 * HOUR)
    assert [fire.at for fire in fires(ending, NOON - DAY, 10)] == [NOON, NOON + HOUR]


def test_moments_of_many_jobs_are_counted_and_collisions_found() -> None:
    jobs = [
        (cron("0 * * * *", "Etc/UTC"), None, NOON),
        (cron("0,30 * * * *", "Etc/UTC"), None, NOON),
        (parse_schedule(fixed_delay=HOUR), None, NOON + 90 * timedelta(minutes=1)),
        (parse_schedule(run_at=NOON + HOUR), None, NOON + HOUR),
    ]
    assert buckets(jobs, NOON, HOUR, 3) == [Bucket(3, 2), Bucket(5, 3), Bucket(3, 2)]


def test_what_lies_before_a_jobs_own_next_fire_does_not_count() -> None:
    minutely = cron("* * * * *", "Etc/UTC")
    assert buckets([(minutely, None, NOON + HOUR)], NOON, HOUR, 2) == [Bucket(0, 0), Bucket(60, 1)]
    assert buckets([(minutely, None, None)], NOON, HOUR, 1) == [Bucket(0, 0)]
    assert buckets([(parse_schedule(fixed_delay=HOUR), None, NOON - HOUR)], NOON, HOUR, 1) == [Bucket(0, 0)]


def test_of_too_many_moments_the_collisions_of_like_jobs_are_known() -> None:
    alike = parse_schedule(fixed_rate=timedelta(milliseconds=100))
    assert buckets([(alike, NOON - DAY, NOON)] * 7, NOON, HOUR, 24) == [Bucket(7 * 36_000, 7)] * 24
