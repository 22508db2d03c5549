"""Quotas: who is over them, by age alone; and what is refused of the setting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

import pytest

from scheduledjobs.core.quota import Place, Quota, fires_per_hour, line, over, read_quotas
from scheduledjobs.errors import SettingsError
from scheduledjobs.settings import load

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def places(*fires: int) -> list[Place]:
    """Jobs made a second apart, that fire so often in their busiest hour."""
    return [Place(NEW_YEAR + timedelta(seconds=n), n, each) for n, each in enumerate(fires)]


def over_of(quota: Quota, *fires: int) -> list[int]:
    """Which of such jobs are over a quota."""
    made = places(*fires)
    found = line(sorted(made), quota, "finance")
    return [n for n, place in enumerate(made) if over(place, found, quota, "finance")]


@pytest.mark.parametrize(
    ("texts", "fires"),
    [
        (("* * * * * *", None, None), 3600),
        (("* * * * *", None, None), 60),
        (("* * 2 * * *", None, None), 3600),
        (("0 9-17 * * *", None, None), 1),
        (("0,30 0 1 1 *", None, None), 2),
        (("@daily", None, None), 1),
        ((None, "1s", None), 3600),
        ((None, "7s", None), 515),
        ((None, "24h", None), 1),
        ((None, None, "90s"), 40),
        ((None, None, None), 0),
        (("not cron", None, None), 0),
        ((None, "soon", None), 0),
        ((None, "0s", None), 0),
    ],
)
def test_a_schedule_counts_by_its_busiest_hour(texts: tuple[str | None, str | None, str | None], fires: int) -> None:
    assert fires_per_hour(*texts) == fires


def test_the_newest_jobs_are_over_a_quota_of_jobs() -> None:
    assert over_of(Quota(jobs=2), 1, 1, 1, 1) == [2, 3]


def test_a_job_is_over_where_it_and_older_ones_fire_more_often_than_is_allowed() -> None:
    assert over_of(Quota(fires_per_second=2), 3600, 3600, 1, 1) == [2, 3]


def test_what_is_allowed_exactly_is_not_over() -> None:
    assert over_of(Quota(jobs=3, fires_per_second=1), 1200, 1200, 1200) == []


def test_a_job_that_alone_fires_too_often_is_over_and_counts_for_nobody() -> None:
    assert over_of(Quota(fires_per_second=0.5), 3600, 900, 900, 1) == [0, 3]


def test_one_shots_and_jobs_without_a_schedule_use_up_jobs_and_no_fires() -> None:
    assert over_of(Quota(jobs=3, fires_per_second=1), 0, 0, 3600, 0) == [3]


def test_no_quota_puts_nobody_over() -> None:
    assert over_of(Quota(), 3600, 3600) == over_of(Quota(jobs=0, fires_per_second=0), 3600, 3600) == []


def test_a_deletion_puts_nobody_over() -> None:
    quota = Quota(jobs=4, fires_per_second=1)
    for fires in set(permutations([3600, 1800, 1800, 900, 4000, 0])):
        every = sorted(places(*fires))
        before = {place.id for place in every if over(place, line(every, quota, "a"), quota, "a")}
        for gone in every:
            left = [place for place in every if place is not gone]
            assert {place.id for place in left if over(place, line(left, quota, "a"), quota, "a")} <= before


def test_jobs_made_in_one_second_are_told_apart_by_their_id() -> None:
    twins = sorted(Place(NEW_YEAR, n, 1) for n in (9, 3))
    found = line(twins, Quota(jobs=1), "a")
    assert found is not None
    assert found.place.id == UUID(int=9)


def test_a_reason_says_what_is_allowed() -> None:
    first, second = places(3600, 1)
    quota = Quota(jobs=1, fires_per_second=0.5)
    found = line([first, second], quota, "finance")
    assert over(second, found, quota, "finance") == "namespace finance may have 1 jobs, counted from the oldest"
    assert "may fire 0.5 times a second, and this one alone" in str(over(first, found, quota, "finance"))


def test_a_namespace_has_each_limit_that_it_names_and_those_of_everybody_else() -> None:
    quotas = read_quotas('{"*": {"jobs": 10, "running": 8}, "finance": {"jobs": 0, "fires_per_second": 2}}')
    assert quotas.of("finance") == Quota(jobs=0, fires_per_second=2, running=8)
    assert quotas.of("sales") == Quota(jobs=10, running=8)
    assert quotas.running == {"*": 8}
    assert quotas.counts_jobs


def test_without_a_quota_on_jobs_or_fires_nothing_is_counted() -> None:
    assert not read_quotas("{}").counts_jobs
    assert not read_quotas('{"*": {"running": 8}, "a": {"jobs": 0}}').counts_jobs


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ('{"Finance": {}}', "'Finance' is not the name of a namespace"),
        ('{"finance": {"job": 3}}', r"finance\.job: .*known are jobs, fires_per_second, running"),
        ('{"finance": {"jobs": -1}}', r"finance\.jobs: "),
        ('{"finance": {"jobs": "3"}}', r"finance\.jobs: "),
        ('{"finance": {"fires_per_second": NaN}}', "must be a JSON object"),
        ('{"*": 3}', r"\*: "),
    ],
)
def test_a_setting_that_cannot_be_right_is_named(text: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    monkeypatch.setenv("SCHEDULEDJOBS_QUOTAS", text)
    with pytest.raises(SettingsError, match=f"SCHEDULEDJOBS_QUOTAS: {sentence}"):
        load()


def test_a_quota_of_running_goes_before_the_limit_of_every_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", "postgresql://localhost/db")
    monkeypatch.setenv("SCHEDULEDJOBS_MAX_RUNNING_PER_NAMESPACE", "5")
    assert load().running_limits == {"*": 5}
    monkeypatch.setenv("SCHEDULEDJOBS_QUOTAS", '{"finance": {"running": 2}, "sales": {"running": 0}}')
    assert load().running_limits == {"*": 5, "finance": 2, "sales": 0}
    monkeypatch.setenv("SCHEDULEDJOBS_QUOTAS", '{"*": {"running": 3}}')
    assert load().running_limits == {"*": 3}
