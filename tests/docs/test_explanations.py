"""What the explanations show is what the code does: examples are computed, numbers looked up, named tests exist."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from tests.docs.shell import Command, open_shell, steps
from tests.docs.test_semantics import known_tests

from scheduledjobs.core import lease, term
from scheduledjobs.core.decide import decide
from scheduledjobs.core.job import Job, NewExecution, read_job, read_schedule
from scheduledjobs.core.reasons import JobState, Reason, State
from scheduledjobs.core.spec import parse_spec
from scheduledjobs.settings import Settings
from scheduledjobs.steps import elect, rescue
from scheduledjobs.store import leadership

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a page, each as rows of cells, without their heads."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.M)
    return [[[cell.strip() for cell in row.strip("| ").split(" | ")] for row in block.splitlines()] for block in blocks]


@pytest.mark.parametrize("name", ["explanation/dst.md", "howto/schedules.md"])
def test_the_moments_that_a_page_shows_are_those_that_fire(name: str) -> None:
    commands = [step for step in steps(page(name)) if isinstance(step, Command)]
    assert len(commands) >= 4
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    with open_shell({**os.environ, "PATH": path}) as shell:
        for command in commands:
            assert re.match(r"scheduledjobs next ", command.typed)
            assert shell.type(command.typed) == command.shown.strip(), command.typed


BEGIN = datetime(2027, 3, 1, 12, tzinfo=UTC)


def down_from_noon(spec: str) -> Job:
    """A job that fired last just before noon, when the operator went away."""
    parsed = parse_spec({"handler": "log", **yaml.safe_load("{" + spec + "}")})
    row = {
        "id": UUID(int=1),
        "namespace": "default",
        "name": "job",
        "version": 1,
        "handler": "log",
        "state": JobState.ACTIVE,
        "reason": Reason.SCHEDULED,
        "message": "",
        "created_at": BEGIN - timedelta(days=9),
        "effective_from": BEGIN - timedelta(days=9),
        "anchor_at": None,
        "next_fire_at": BEGIN,
        "next_due_at": BEGIN,
        "last_fire_time": None,
    }
    return read_job(row, read_schedule(parsed), parsed)


def told(row: NewExecution) -> str:
    """Return one row as the page of misfires tells it."""
    if row.state is not State.PENDING:
        count, end = row.moment_count or 1, row.last_fire_time or row.fire_time
        which = f"{clock(row.fire_time)}" if count == 1 else f"{clock(row.fire_time)} to {clock(end)} ({count})"
        return f"{row.state}/{row.reason} {which}"
    held = ", held" if row.is_held else ""
    missed = f", told of {row.missed_count} since {clock(row.first_missed_at)}" if row.first_missed_at else ""
    return f"{row.trigger} {clock(row.fire_time)}{held}{missed}"


def clock(at: datetime) -> str:
    day = "" if at.date() == BEGIN.date() else f"+{(at.date() - BEGIN.date()).days}d "
    return f"{day}{at:%H:%M}" + (f":{at:%S}" if at.second else "")


def test_the_examples_of_misfires_are_what_is_decided() -> None:
    found = [row for block in tables(page("explanation/misfires.md")) for row in block[2:] if row[0].startswith("`")]
    assert len(found) >= 12
    for spec, back, shown in found:
        now = BEGIN + timedelta(**dict(zip(("hours", "minutes", "seconds"), clock_of(back), strict=True)))
        decided = decide(down_from_noon(spec.strip("`")), BEGIN - timedelta(days=30), now)
        assert shown == "; ".join(map(told, decided.executions)), f"{spec} at {back}"


def clock_of(text: str) -> tuple[int, int, int]:
    days, _, rest = text.rpartition("d ")
    hours, minutes, *seconds = (int(part) for part in rest.split(":"))
    return int(days.lstrip("+") or 0) * 24 + hours - BEGIN.hour, minutes, seconds[0] if seconds else 0


def test_the_numbers_of_leadership_are_those_of_the_code() -> None:
    numbers = {row[1]: float(row[0].removesuffix(" s")) for row in tables(page("explanation/leadership.md"))[-1][2:]}
    code = {
        "`lease_seconds`": Settings.model_fields["lease_seconds"].default,
        "`RENEW_SECONDS`": lease.RENEW_SECONDS,
        "`MARGIN_SECONDS`": lease.MARGIN_SECONDS,
        "`LEAST_LEASE_SECONDS`": lease.LEAST_LEASE_SECONDS,
        "`PROBE_SECONDS`": elect.PROBE_SECONDS,
        "`SEAT_SECONDS`": leadership.SEAT_SECONDS,
        "`EARLY_SECONDS`": lease.EARLY_SECONDS,
        "`WITHOUT_STORE_SECONDS`": elect.WITHOUT_STORE_SECONDS,
        "`TRUST_SECONDS`": term.TRUST_SECONDS,
        "`DEAD_AFTER_SECONDS`": rescue.DEAD_AFTER_SECONDS,
        "`TRUSTED_FOR_SECONDS`": rescue.TRUSTED_FOR_SECONDS,
    }
    assert numbers == code


@pytest.mark.parametrize("name", ["explanation/exactly-once.md", "explanation/leadership.md"])
def test_every_test_that_a_page_names_exists(name: str) -> None:
    named = set(re.findall(r"\btest_[a-z0-9_]+\b(?!\.py)", page(name)))
    assert len(named) >= 5
    assert named - known_tests() == set()


def test_the_promise_is_told_in_the_same_words_everywhere() -> None:
    promise = re.search(r"## Promises\n\n(.*?)\n\n", page("explanation/semantics.md"), re.S)
    assert promise is not None
    assert promise.group(1) in page("explanation/exactly-once.md")
