"""A schedule in words says when it fires, or says no more than its expression."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

import pytest

from scheduledjobs.core.cron import CronFields, parse_cron
from scheduledjobs.core.schedule import moments, parse_schedule
from scheduledjobs.core.words import words

BEGIN = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)
DAYS = ("*", "*/1", "*/01", "1/1", "1", "13,15", "1-7", "1-31", "10-20/5", "*/2", "*/31", "L", "2/1", "28/9")
WEEKDAYS = ("*", "*/1", "*/01", "1/1", "0/1", "5", "MON,FRI", "1-5", "0-6", "5#2", "L5", "*/2", "1/2", "5/2", "1-2/2")
STEPS = (1, 2, 5, 7, 11, 12, 13, 20, 23, 24, 25, 30, 31, 40, 59, 60, 61, 90, 100)
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600}


def said(expression: str) -> str:
    return words(parse_schedule(schedule=expression))


def either(fields: CronFields) -> bool:
    return bool(fields.days or fields.last_day) and bool(fields.weekdays or fields.nth)


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 1/1 * 1",
        "0 0 1 * 1/1",
        "0 0 * * 1/1",
        "0 1/1 * * *",
        "*/90 * * * *",
        "*/45 * * * *",
        "50/20 * * * *",
        "0 */25 * * *",
        "0 20/5 * * *",
        "0 0 * */13 *",
        "0 0 */30 * *",
        "0 0 1/30 * *",
        "0 0 * * 1/2",
        "0 9 1-7 * 1-5",
        "0 9 13 * 5#2",
        "0 9 15 * L5",
        "0 0 1 * 0-6",
        "0 0 1 * */2",
        "0 0 * * 1-2/2",
        "0 0 * * 5-1/2",
        "0 0 * * 1,3/2",
        "0 */01,5 * * *",
        "0 0 */01 * 1",
    ],
)
def test_an_expression_that_would_be_misread_is_only_named(expression: str) -> None:
    assert said(expression) == f"At the moments of {expression}"


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("*/15 * * * *", "Every 15 minutes"),
        ("5/10 * * * *", "Every 10 minutes, starting at 5 minutes past the hour"),
        ("0 */6 * * *", "Every 6 hours"),
        ("0 9-17/2 * * *", "Every 2 hours, between 09:00 and 17:59"),
        ("0 0 1 */3 *", "At 00:00, on day 1 of the month, every 3 months"),
        ("0 0 */1 * 1", "At 00:00, only on Monday"),
        ("0 9 * * 1-5", "At 09:00, Monday through Friday"),
        ("0 9 * * FRI#2", "At 09:00, on the second Friday of the month"),
        ("0 9 13 * 5", "At 09:00, on day 13 of the month, or on Friday"),
        ("0 9 1-7 * 5", "At 09:00, between day 1 and 7 of the month, or on Friday"),
        ("30 0 9 L * 5", "At 09:00:30, on the last day of the month, or on Friday"),
        ("@weekly", "At 00:00, only on Sunday"),
    ],
)
def test_an_expression_that_can_be_said_is_said(expression: str, sentence: str) -> None:
    assert said(expression) == sentence


@pytest.mark.parametrize("days", DAYS)
def test_where_either_day_matches_the_words_say_or(days: str) -> None:
    for weekdays, months in product(WEEKDAYS, ("*", "1-6", "*/3")):
        expression = f"0 9 {days} {months} {weekdays}"
        sentence = said(expression)
        is_named = sentence == f"At the moments of {expression}"
        assert is_named or ("or on" in sentence) == either(parse_cron(expression)), (expression, sentence)
        assert not (either(parse_cron(expression)) and "only on" in sentence), (expression, sentence)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("form", ["*/{} * * * * *", "*/{} * * * *", "0 */{} * * *", "0/{} * * * *", "0 0/{} * * *"])
def test_what_is_said_to_come_every_so_often_does(form: str, step: int) -> None:
    expression = form.format(step)
    found = re.fullmatch(r"Every (\d+) (seconds|minutes|hours)", said(expression))
    fires = list(moments(parse_schedule(schedule=expression), BEGIN, BEGIN + timedelta(days=3)))
    gaps = {(after - before).total_seconds() for before, after in pairwise(fires)}
    if found is not None:
        assert gaps == {int(found[1]) * UNITS[found[2]]}, expression
    elif step > 1:
        assert said(expression) == f"At the moments of {expression}"
