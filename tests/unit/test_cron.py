"""What a cron expression means: as in CronJob where CronJob takes it, and never something else in silence."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pytest
import yaml
from tests.importing.robfig import Robfig

from scheduledjobs.core.cron import CronFields, parse_cron
from scheduledjobs.core.reasons import Reason
from scheduledjobs.errors import SpecError

CRD = Path(__file__).parents[2] / "crds" / "scheduledjobs.dev_scheduledjobs.yaml"
WEEK = [date(2027, 8, 1) + timedelta(days=n) for n in range(7)]
"""Sunday to Saturday."""

FOUR_YEARS = [date(2027, 1, 1) + timedelta(days=n) for n in range(4 * 365 + 1)]
SAMPLES = 1000


def clock(expression: str) -> tuple[set[int], set[int], set[int]]:
    """The hours, minutes and seconds of a day at which an expression fires."""
    times = list(parse_cron(expression).times)
    return {t // 3600 for t in times}, {t // 60 % 60 for t in times}, {t % 60 for t in times}


def weekdays(expression: str) -> list[int]:
    fields = parse_cron(expression)
    return [number for number, day in enumerate(WEEK) if fields.matches(day)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 5-5 * * *", ({5}, {0}, {0})),
        ("0-0 3 * * *", ({3}, {0}, {0})),
        ("7-7/5 3 * * *", ({3}, {7}, {0})),
        ("59/15 23/4 * * *", ({23}, {59}, {0})),
        ("30-30 * 2-2 * * *", ({2}, set(range(60)), {30})),
        ("0 22-2 * * *", ({22, 23, 0, 1, 2}, {0}, {0})),
        ("0 22-2/3 * * *", ({22, 1}, {0}, {0})),
        ("50-20/7 0 * * *", ({0}, {50, 57, 4, 11, 18}, {0})),
    ],
)
def test_a_range_means_its_two_ends_and_what_lies_between(
    expression: str, expected: tuple[set[int], set[int], set[int]]
) -> None:
    assert clock(expression) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("MON-MON", [1]),
        ("7-7", [0]),
        ("0-0", [0]),
        ("7", [0]),
        ("0-7", [0, 1, 2, 3, 4, 5, 6]),
        ("0-7/7", [0]),
        ("0-7/2", [0, 2, 4, 6]),
        ("1-7/2", [0, 1, 3, 5]),
        ("5-7", [0, 5, 6]),
        ("FRI-MON", [0, 1, 5, 6]),
        ("7-2", [0, 1, 2]),
        ("3/2", [3, 5]),
        ("sun-sat", [0, 1, 2, 3, 4, 5, 6]),
        ("0,7", [0]),
    ],
)
def test_a_range_of_weekdays_may_name_them_and_end_with_7(field: str, expected: list[int]) -> None:
    assert weekdays(f"0 0 * * {field}") == expected


def test_a_range_of_months_may_be_one_month_or_pass_the_turn_of_the_year() -> None:
    assert parse_cron("0 0 1 JAN-JAN *").months == {1}
    assert parse_cron("0 0 1 nov-2 *").months == {11, 12, 1, 2}
    assert parse_cron("0 0 1 2/5 *").months == {2, 7, 12}


@pytest.mark.parametrize(
    ("expression", "is_due"),
    [
        ("0 0 *,5 * *", lambda _: True),
        ("0 0 5,*/1 * *", lambda _: True),
        ("0 0 L,* * MON", lambda day: day.isoweekday() == 1),
        ("0 0 13 * *,5", lambda day: day.day == 13),
        ("0 0 13 * *,5#3", lambda day: day.day == 13),
        ("0 0 */01 * FRI", lambda day: day.isoweekday() == 5),
        ("0 0 */2 * 0-6", lambda _: True),  # the whole of it written out is a restriction, and either matches
        ("0 0 1-31 * */2", lambda _: True),
        ("0 0 */2,31 * MON", lambda day: day.day % 2 == 1 or day.isoweekday() == 1),
        ("0 0 * * 0-6,5#3", lambda _: True),
        ("0 0 * * MON,5#3", lambda day: day.isoweekday() == 1 or (day.isoweekday() == 5 and 15 <= day.day <= 21)),
        ("0 0 * * 7#1", lambda day: day.isoweekday() == 7 and day.day <= 7),
        ("0 0 * * l7", lambda day: day.isoweekday() == 7 and (day + timedelta(days=7)).month != day.month),
        ("0 0 15,L * *", lambda day: day.day == 15 or (day + timedelta(days=1)).day == 1),
    ],
)
def test_a_day_field_with_a_star_in_it_restricts_nothing(expression: str, is_due: object) -> None:
    assert callable(is_due)
    fields = parse_cron(expression)
    assert [day for day in FOUR_YEARS if fields.matches(day)] == [day for day in FOUR_YEARS if is_due(day)]


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("R 2 * * *", "'R' is no minute"),
        ("H 2 * * *", "'H' is no minute"),
        ("0 R/2 * * *", "'R/2' is no hour"),
        ("0 2 15W * *", "'15W' is no day of month"),
        ("0 2 W15 * *", "'W15' is no day of month"),
        ("0 2 1-L * *", "'1-L' is no day of month"),
        ("0 2 R * *", "'R' is no day of month"),
        ("0 2 * r *", "'r' is no month"),
        ("0 2 0 * *", "'0' is no day of month"),
        ("0 2 * 0 *", "'0' is no month"),
        ("0 2 * * MON-FRI#2", "'MON-FRI#2' is no day of week"),
        ("0 2 * * 05", "'05' is no day of week"),
        ("0 2 * * MON#6", "'MON#6' is no day of week"),
        ("0 2 * * L", "'L' is no day of week"),
        ("R 0 2 * * *", "'R' is no second"),
        ("5, 2 * * *", "'' is no minute"),
        ("0 2 * JANUARY *", "'JANUARY' is no month"),
        ("*-5 2 * * *", "is no minute"),
    ],
)
def test_refuses_what_the_api_server_refuses_and_names_the_field(expression: str, part: str) -> None:
    with pytest.raises(SpecError, match=re.escape(part)) as caught:
        parse_cron(expression)
    assert caught.value.reason is Reason.INVALID_SCHEDULE


def taken_by_the_api_server() -> re.Pattern[str]:
    """The pattern of the CRD that a cron expression must match."""
    version = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]
    schedule = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["schedule"]
    (rule,) = [r["rule"] for r in schedule["x-kubernetes-validations"] if "(?i)" in r["rule"]]
    return re.compile(rule[rule.index("'(?i)") + 1 : rule.rindex("'")].replace("\\\\", "\\"), re.ASCII)


BOUNDS = {"second": (0, 59), "minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
NAMES = {"month": ["jan", "FEB", "Jun", "DEC"], "weekday": ["sun", "MON", "Fri", "SAT"]}
ODD = ["R", "H", "R/5", "W", "15W", "L", "l5", "L7", "5#3", "7#1", "MON#5", "5#6", "?", "1-L", "*-5", "", "007", "3-"]


def part_of(random: Random, kind: str) -> str:
    low, high = BOUNDS[kind]
    ends = [str(random.choice([low, high, random.randint(low, high)])) for _ in range(2)]
    ends = [random.choice(NAMES.get(kind, [end])) if random.random() < 0.3 else end for end in ends]
    if random.random() < 0.2:
        ends[1] = ends[0]
    text = random.choice(["*", ends[0], ends[0], "-".join(ends), "-".join(ends)])
    return text + random.choice(["", "", "", f"/{random.randint(0, 9)}", "/01", "/70"])


def expression_of(random: Random, odd: float) -> str:
    kinds = list(BOUNDS)[random.choice([0, 1, 1, 1]) :]
    return " ".join(
        ",".join(
            random.choice(ODD) if random.random() < odd else part_of(random, kind)
            for _ in range(random.choice([1, 1, 1, 2, 3]))
        )
        for kind in kinds
    )


def test_takes_what_the_api_server_takes_and_nothing_else() -> None:
    random, pattern, taken, refused = Random(20261201), taken_by_the_api_server(), 0, 0
    for _ in range(SAMPLES):
        expression = expression_of(random, 0.05)
        why = refusal(expression)
        assert (why is None or "never comes" in why) == bool(pattern.fullmatch(expression)), (expression, why)
        taken, refused = taken + (why is None), refused + (why is not None)
    assert min(taken, refused) > SAMPLES // 5


def refusal(expression: str) -> str | None:
    try:
        parse_cron(expression)
    except SpecError as error:
        return str(error)
    return None


def test_means_what_cronjob_means_wherever_cronjob_takes_it() -> None:
    random, cases = Random(20261202), 0
    for _ in range(SAMPLES):
        expression = expression_of(random, 0.0)
        try:
            theirs = Robfig(expression, "UTC")
            ours = parse_cron(expression)
        except (SpecError, ValueError):
            continue
        assert equals(ours, theirs), expression
        cases += 1
    assert cases > SAMPLES // 10


def equals(ours: CronFields, theirs: Robfig) -> bool:
    times = [3600 * hour + 60 * minute for hour in sorted(theirs.hours) for minute in sorted(theirs.minutes)]
    days = [day for day in FOUR_YEARS if theirs.fires_on(day)]
    return list(ours.times) == times and [day for day in FOUR_YEARS if ours.matches(day)] == days
