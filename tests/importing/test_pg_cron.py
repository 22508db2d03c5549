"""pg_cron's jobs, read from a table of the shape that its documentation gives: it cannot be installed here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import yaml
from tests.importing.test_cronjobs import ANY, differences

from scheduledjobs.cli.import_pg_cron import compare
from scheduledjobs.cli.import_shadow import Time
from scheduledjobs.core.reasons import JobState
from scheduledjobs.errors import StoreError
from scheduledjobs.importing.imported import Difference
from scheduledjobs.importing.pg_cron import read_pg_cron
from scheduledjobs.store.foreign import reading

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
TABLES = """
CREATE SCHEMA cron;
CREATE TABLE cron.job (
    jobid bigserial PRIMARY KEY,
    schedule text NOT NULL,
    command text NOT NULL,
    nodename text NOT NULL DEFAULT 'localhost',
    nodeport int NOT NULL DEFAULT inet_server_port(),
    database text NOT NULL DEFAULT current_database(),
    username text NOT NULL DEFAULT current_user,
    active boolean NOT NULL DEFAULT true,
    jobname text
);
CREATE TABLE cron.job_run_details (
    jobid bigint,
    runid bigserial PRIMARY KEY,
    job_pid integer,
    database text,
    username text,
    command text,
    status text,
    return_message text,
    start_time timestamptz,
    end_time timestamptz
);
"""
JOBS: list[tuple[str, str, bool, str | None]] = [
    ("0 3 * * *", "VACUUM ANALYZE orders", True, "nightly vacuum"),
    ("30 seconds", "SELECT refresh()", True, "refresh"),
    ("0 0 $ * *", "CALL close_month();", True, "close-month"),
    ("*/5 * * * *", "DELETE FROM log WHERE message LIKE 'debug%'; ANALYZE log", True, None),
    ("@reboot", "SELECT 1", True, "at-start"),
    ("0 1 * * *", "SELECT 1", False, "off"),
    ("0 2 1-7 * 1", "SELECT 1", True, "either"),
    ("0 2 */2 * 1", "SELECT 1", True, "both"),
]


@pytest.fixture
def source(database: str) -> str:
    """A database with pg_cron's tables and jobs."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
        for job in JOBS:
            conn.execute("INSERT INTO cron.job (schedule, command, active, jobname) VALUES (%s, %s, %s, %s)", job)
    return database


def run(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scheduledjobs", "import", "pg_cron", "--connection", "warehouse", *words]
    environment = {**os.environ, "SCHEDULEDJOBS_IMPORT_DATABASE_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def row(schedule: str, command: str = "SELECT 1") -> dict[str, Any]:
    return {"jobid": 7, "schedule": schedule, "command": command, "database": "main", "username": "ana"}


def test_jobs_become_manifests_for_the_handler_sql(source: str) -> None:
    said = run(source, "-n", "data")
    assert said.returncode == 1, said.stderr
    assert "6 of 8 jobs imported, 2 not" in said.stderr
    assert "pg_cron job 5 at-start: schedule '@reboot' has no equivalent" in said.stderr
    found = {body["metadata"]["name"]: body["spec"] for body in yaml.safe_load_all(said.stdout) if body}
    assert list(found) == ["nightly-vacuum", "refresh", "close-month", "pg-cron-4", "off", "either"]
    assert found["refresh"]["fixedRate"] == "30s"
    assert found["close-month"]["schedule"] == "0 0 L * *"
    assert found["close-month"]["payload"] == {"connection": "warehouse", "statement": "CALL close_month()"}
    assert found["pg-cron-4"]["payload"]["statement"].endswith("LIKE 'debug%%'; ANALYZE log")
    assert found["off"]["suspend"] is True
    for spec in found.values():
        assert (spec["concurrencyPolicy"], spec["misfire"]) == ("Queue", {"policy": "Skip"})
        assert ANY.verdict(spec, "data").state in (JobState.ACTIVE, JobState.SUSPENDED)


def test_what_differs_is_named() -> None:
    several = read_pg_cron(row("@hourly", "SELECT 1; SELECT ';'"), "own", "GMT", None, NOON)
    assert differences(several) == {Difference.CONCURRENCY, Difference.CONNECTION, Difference.STATEMENT}
    quoted = read_pg_cron(row("@hourly", "SELECT ';vacuum' -- ; call"), "own", "GMT", None, NOON)
    assert differences(quoted) == {Difference.CONCURRENCY, Difference.CONNECTION}
    gap = read_pg_cron(row("30 2 * * *"), "own", "Europe/Berlin", None, NOON)
    assert [note.text for note in gap.notes if note.difference is Difference.DAYLIGHT_SAVING] == [
        "2027-03-28 02:30 does not exist in Europe/Berlin: pg_cron skips it, the ScheduledJob runs at 03:00",
        "2027-10-31 02:30 comes twice in Europe/Berlin: pg_cron runs twice, the ScheduledJob once",
    ]
    assert "not in the IANA" in read_pg_cron(row("@hourly"), "own", "Mars/Base", None, NOON).notes[0].text


def test_a_cron_schedule_may_owe_several_runs_there_and_one_here_but_an_interval_one_in_both() -> None:
    """pg_cron counts the moments of a cron schedule in pendingRunCount; an interval is due anew after its run."""
    (note,) = [
        note
        for note in read_pg_cron(row("* * * * *"), "own", "GMT", None, NOON).notes
        if note.difference is Difference.CONCURRENCY
    ]
    assert "runs each of them afterwards; Queue keeps one here" in note.text
    assert Difference.CONCURRENCY not in differences(read_pg_cron(row("30 seconds"), "own", "GMT", None, NOON))


@pytest.mark.parametrize(("schedule", "period"), [("1 second", "1s"), ("59 seconds", "59s"), (" 7 Seconds ", "7s")])
def test_an_interval_of_seconds_is_a_fixed_rate(schedule: str, period: str) -> None:
    spec = read_pg_cron(row(schedule), "own", "GMT", None, NOON).spec
    assert spec is not None
    assert spec["fixedRate"] == period


@pytest.mark.parametrize("schedule", ["60 seconds", "0 seconds", "5 minutes", "* * *", "0 0 $5 * *"])
def test_what_pg_cron_would_not_take_is_not_imported(schedule: str) -> None:
    assert read_pg_cron(row(schedule), "own", "GMT", None, NOON).spec is None


@pytest.mark.parametrize(
    ("schedule", "imported"),
    [
        ("0 5-5 * * *", "0 5-5 * * *"),
        ("0 0 *,5 * 1", "0 0 *,5 * 1"),
        ("0 0 5,* * 1", "0 0 1-31 * 1"),  # restricts nothing and is a restriction: either matches, which is always
        ("0 0 13 * 5,*/1", "0 0 13 * 0-6"),
        ("0 0 5,*/2 * 1", "0 0 5,*/2 * 1"),
        ("0 0 * * mon-fri", "0 0 * * mon-fri"),
        ("0 22-2 * * *", None),
        ("0 0 * * fri-mon", None),
        ("0 0 28-3/2 * *", None),
        ("0 0 * * 5-7", "0 0 * * 5-7"),
    ],
)
def test_lists_with_a_star_and_ranges_mean_what_pg_cron_means(schedule: str, imported: str | None) -> None:
    found = read_pg_cron(row(schedule), "own", "GMT", None, NOON)
    assert (found.spec and found.spec["schedule"]) == imported, found.notes


@pytest.mark.parametrize(
    ("schedule", "imported"), [("0 3 * * * *", "0 3 * * *"), ("30 4 1 * * VACUUM orders", "30 4 1 * *")]
)
def test_what_follows_the_fifth_field_is_left_out_and_named(schedule: str, imported: str) -> None:
    """There are no seconds: pg_cron stops after five fields, and what follows them is never read."""
    found = read_pg_cron(row(schedule), "own", "GMT", None, NOON)
    assert found.spec is not None
    assert found.spec["schedule"] == imported
    rest = " ".join(schedule.split()[5:])
    assert [note.text for note in found.notes if note.difference is Difference.FIELDS] == [
        f"pg_cron reads the first five fields of '{schedule}' and ignores '{rest}'"
    ]
    assert Difference.FIELDS not in differences(read_pg_cron(row(imported), "own", "GMT", None, NOON))


async def test_the_session_cannot_write(source: str) -> None:
    with pytest.raises(StoreError, match="read-only"):
        async with reading(source) as conn:
            await conn.execute("DELETE FROM cron.job")


def test_a_namespace_that_cannot_be_is_a_wrong_option() -> None:
    said = run("postgresql://nobody@localhost:1/none", "-n", "../x")
    assert said.returncode == 2
    assert "is no name that a namespace can have" in " ".join(said.stderr.split())


def test_a_database_without_the_table_is_a_wrong_address(database: str) -> None:
    said = run(database)
    assert said.returncode == 2
    assert 'relation "cron.job" does not exist' in " ".join(said.stderr.split())


class Hand:
    """Time in the test's hand; pg_cron's part is played as it comes."""

    def __init__(self, url: str, runs: Sequence[tuple[int, datetime]]) -> None:
        self.at, self.url, self.runs = NOON, url, runs

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        before, self.at = self.at, self.at + timedelta(seconds=seconds)
        with psycopg.connect(self.url, autocommit=True) as conn:
            for number, at in self.runs:
                if before < at <= self.at:
                    statement = "INSERT INTO cron.job_run_details (jobid, start_time) VALUES (%s, %s)"
                    conn.execute(statement, (number, at))


async def test_a_shadow_pairs_what_was_started_with_its_moment(source: str) -> None:
    rows = [{**row("30 seconds"), "jobid": 2}, {**row("*/5 * * * *"), "jobid": 4}]
    jobs = [read_pg_cron(one, "own", "GMT", None, NOON) for one in rows]
    second = [NOON + timedelta(seconds=k) for k in range(400)]
    runs = [(2, second[17 + 30 * k]) for k in range(10)] + [(4, second[302])]
    hand = Hand(source, runs)
    rate, cron = await compare(source, jobs, rows, timedelta(seconds=310), Time(hand.now, hand.sleep))
    assert (len(rate.same), rate.differs) == (10, False)
    assert (cron.same, cron.differs) == ((second[300],), False)
    late = Hand(source, [(4, second[200])])
    (found,) = await compare(source, jobs[1:], rows[1:], timedelta(seconds=310), Time(late.now, late.sleep))
    assert found.theirs_only == (second[200],)
