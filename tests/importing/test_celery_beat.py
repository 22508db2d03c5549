"""Celery beat's entries, of a module, of a file and of django-celery-beat's tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
import yaml
from tests.importing.beat_config import beat_schedule, crontab
from tests.importing.test_cronjobs import ANY, differences

from scheduledjobs.cli.import_celery_beat import compare_ahead
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.schedule import moments
from scheduledjobs.importing.celery_beat import read_beat
from scheduledjobs.importing.django_beat import CRON, read_row
from scheduledjobs.importing.imported import CannotImport, Difference, Imported
from scheduledjobs.importing.manifest import manifest

HERE = Path(__file__).parent
NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
TABLES = """
CREATE TABLE django_celery_beat_crontabschedule (
    id serial PRIMARY KEY, minute text, hour text, day_of_week text, day_of_month text, month_of_year text,
    timezone text
);
CREATE TABLE django_celery_beat_intervalschedule (id serial PRIMARY KEY, every int, period text);
CREATE TABLE django_celery_beat_clockedschedule (id serial PRIMARY KEY, clocked_time timestamptz);
CREATE TABLE django_celery_beat_solarschedule (
    id serial PRIMARY KEY, event text, latitude numeric(9, 6), longitude numeric(9, 6)
);
CREATE TABLE django_celery_beat_periodictask (
    id serial PRIMARY KEY, name text UNIQUE, task text, args text DEFAULT '[]', kwargs text DEFAULT '{}', queue text,
    exchange text, routing_key text, headers text DEFAULT '{}', priority int, expires timestamptz, expire_seconds int,
    one_off boolean DEFAULT false, start_time timestamptz, enabled boolean DEFAULT true, last_run_at timestamptz,
    total_run_count int DEFAULT 0, date_changed timestamptz, description text,
    crontab_id int, interval_id int, clocked_id int, solar_id int
);
INSERT INTO django_celery_beat_crontabschedule VALUES
    (1, '*/15', '*', '*', '*', '*', 'UTC'), (2, '0', '9', 'mon-fri', '*', '*', 'Europe/Berlin'),
    (3, '0', '9', '1', '1-7, 8-14', '*', 'UTC');
INSERT INTO django_celery_beat_intervalschedule VALUES (1, 10, 'seconds'), (2, 500, 'microseconds');
INSERT INTO django_celery_beat_clockedschedule VALUES (1, '2027-01-01 00:00:00+00');
INSERT INTO django_celery_beat_solarschedule VALUES (1, 'sunset', 52.5, 13.4);
INSERT INTO django_celery_beat_periodictask
    (name, task, args, kwargs, queue, expire_seconds, enabled, crontab_id, interval_id, clocked_id, solar_id)
VALUES
    ('quarter', 'a.b', '[1]', '{"x": 2}', 'slow', 60, true, 1, NULL, NULL, NULL),
    ('Workdays at nine', 'a.b', '[]', '{}', NULL, NULL, true, 2, NULL, NULL, NULL),
    ('weeks', 'a.b', '[]', '{}', NULL, NULL, true, 3, NULL, NULL, NULL),
    ('ten', 'a.b', '[]', '{}', NULL, NULL, false, NULL, 1, NULL, NULL),
    ('tiny', 'a.b', '[]', '{}', NULL, NULL, true, NULL, 2, NULL, NULL),
    ('new-year', 'a.b', '[]', '{}', NULL, NULL, true, NULL, NULL, 1, NULL),
    ('dusk', 'a.b', '[]', '{}', NULL, NULL, true, NULL, NULL, NULL, 1),
    ('broken', 'a.b', 'x', '{}', NULL, NULL, true, NULL, 1, NULL, NULL),
    ('cleanup', 'celery.backend_cleanup', '[]', '{}', NULL, NULL, true, 1, NULL, NULL, NULL);
"""


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scheduledjobs", "import", "celery-beat", *words]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, cwd=HERE
    )


def found(text: str) -> dict[str, dict[str, Any]]:
    specs = {body["metadata"]["name"]: body["spec"] for body in yaml.safe_load_all(text) if body}
    for spec in specs.values():
        assert ANY.verdict(spec, "default").state in (JobState.ACTIVE, JobState.SUSPENDED, JobState.COMPLETED)
    return specs


def read(name: str, handlers: tuple[tuple[str, str], ...] = ()) -> Any:
    return read_beat(name, beat_schedule[name], "UTC", handlers, None, NOON)


def test_a_beat_schedule_of_a_module() -> None:
    said = run("--app", "beat_config:beat_schedule")
    assert said.returncode == 1
    assert "6 of 9 jobs imported, 3 not" in said.stderr
    assert "celery.backend_cleanup is left out" in said.stderr
    specs = found(said.stdout)
    assert specs["quarter"]["schedule"] == "*/15 * * * *"
    assert specs["workdays"]["schedule"] == "30 7 * * 1-5"
    assert specs["workdays"]["timeZone"] == "Europe/Berlin"
    assert specs["workdays"]["handler"] == "reports.tasks.send-daily"
    assert specs["workdays"]["startingDeadline"] == "10m"
    assert specs["workdays"]["payload"] == {
        "task": "reports.tasks.Send_Daily",
        "args": [1, "two"],
        "kwargs": {"full": True},
        "queue": "slow",
    }
    assert specs["half-minute"]["fixedRate"] == "30s"
    assert specs["object"]["fixedRate"] == "10m"
    assert {spec["concurrencyPolicy"] for spec in specs.values()} == {"Allow"}


def test_a_crontab_without_a_zone_of_its_own_is_in_the_zone_that_is_given() -> None:
    for words in (("beat_config:beat_schedule", "--time-zone", "Asia/Tokyo"), ("beat_config:config",)):
        specs = found(run("--app", *words).stdout)
        assert {specs[name]["timeZone"] for name in ("quarter", "first-monday")} == {"Asia/Tokyo"}
        assert specs["workdays"]["timeZone"] == "Europe/Berlin"


def test_where_nothing_names_a_zone_a_note_says_that_utc_is_supposed() -> None:
    said = run("--app", "beat_config:beat_schedule").stdout
    assert found(said)["quarter"]["timeZone"] == "Etc/UTC"
    assert said.count("# - TimeZone: ") == 2  # those of quarter and first-monday
    assert "--time-zone names another" in " ".join(said.replace("# ", "").split())
    assert "# - TimeZone: " not in run("--app", "beat_config:config").stdout


def test_an_app_that_names_no_zone_is_in_utc_but_where_it_is_told_not_to_be() -> None:
    for app, notes in (("utc", 0), ("local", 2)):
        assert run("--app", f"beat_config:{app}").stdout.count("# - TimeZone: ") == notes, app


def test_what_differs_is_named() -> None:
    assert differences(read("workdays")) == {Difference.DEADLINE, Difference.HANDLER, Difference.OPTIONS}
    assert differences(read("half-minute")) == {Difference.GRID, Difference.HANDLER}
    assert "sunrise and sunset" in read("dusk").notes[0].text
    assert "must both match there" in read("both-days").notes[0].text


def test_the_gap_of_spring_is_named_and_the_overlap_of_autumn_is_no_difference() -> None:
    notes = read_beat("x", {"task": "t", "schedule": "30 2 * * *"}, "Europe/Berlin", (), None, NOON).notes
    assert [note.text for note in notes if note.difference is Difference.DAYLIGHT_SAVING] == [
        "2027-03-28 02:30 does not exist in Europe/Berlin: Celery beat runs it as much later as the clocks go forward, "
        "the ScheduledJob runs at 03:00"
    ]


def test_a_task_may_be_given_a_handler_that_there_is() -> None:
    assert read("workdays", (("x.*", "other"), ("reports.*", "celery"))).spec["handler"] == "celery"
    assert read("half-minute", (("*", "celery"),)).spec["handler"] == "celery"


@pytest.mark.parametrize("expires", [NEW_YEAR, NEW_YEAR.replace(tzinfo=None), "2027-01-01T00:00:00"])
def test_a_time_until_which_a_task_is_sent_is_the_end_of_the_job(expires: object) -> None:
    """Celery takes one without an offset for UTC, whatever the app's zone."""
    entry = {"task": "t", "schedule": 60, "options": {"expires": expires}}
    job = read_beat("x", entry, "Europe/Berlin", (), None, NOON)
    assert job.spec is not None
    assert job.spec["endTime"] == "2027-01-01T00:00:00Z"
    assert "suspend" not in job.spec
    assert job.schedule is not None
    assert job.schedule.window.end == NEW_YEAR


def test_an_entry_whose_time_has_passed_is_suspended_with_a_note() -> None:
    job = read_beat("x", {"task": "t", "schedule": 60, "options": {"expires": NOON}}, "UTC", (), None, NOON)
    assert job.spec is not None
    assert job.spec["suspend"] is True
    assert "endTime" not in job.spec
    assert [note.text for note in job.notes if note.difference is Difference.SUSPENDED] == [
        "expires, 2026-11-27T12:00:00Z, has passed: no worker runs what is sent since"
    ]


def test_an_expires_that_is_no_time_is_not_imported() -> None:
    job = read_beat("x", {"task": "t", "schedule": 60, "options": {"expires": "soon"}}, "UTC", (), None, NOON)
    assert job.spec is None
    assert "expires 'soon' is no time" in job.notes[0].text


class Shop(str):
    """As a text of Django that is marked as safe."""

    __slots__ = ()


class Level(IntEnum):
    HIGH = 3


ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ({"args": [1, timedelta(days=1)]}, "args.1 is a timedelta"),
        ({"args": ({"price": Decimal("1.5")},)}, "args.0.price is a Decimal"),
        ({"kwargs": {"ids": {1, 2}}}, "kwargs.ids is a set"),
        ({"kwargs": {"since": NOON}}, "kwargs.since is a datetime"),
        ({"kwargs": {"key": UUID(int=1)}}, "kwargs.key is a UUID"),
        ({"kwargs": {"rate": float("nan")}}, "kwargs.rate is nan"),
        ({"kwargs": {1: "a"}}, "kwargs has the key 1, which is no text"),
        ({"kwargs": {"n": 2**64}}, "kwargs.n is an integer of more than 64 bits"),
        ({"args": ITSELF}, "is nested in more than 64 levels"),
        ({"args": ["\ud800"]}, "surrogates"),
        ({"options": {"queue": Difference}}, "options.queue is a "),
        ({"options": ["queue"]}, "its options are no mapping"),
        ({"options": {"expires": float("inf")}}, "expires of inf s"),
        ({"options": {"expires": 10**400}}, "expires of 1000"),
        ({"schedule": float("nan")}, "interval of nan s"),
        ({"schedule": 10**20}, "interval of 100000000000000000000 s"),
        ({"schedule": SimpleNamespace(run_every=60)}, "SimpleNamespace cannot be read"),
        ({"schedule": SimpleNamespace(minute="15", day_of_week="*")}, "SimpleNamespace cannot be read"),
    ],
)
def test_an_entry_of_values_that_no_manifest_can_hold_is_not_imported_and_says_where(
    part: dict[str, Any], where: str
) -> None:
    job = read_beat("x", {"task": "t", "schedule": 60, **part}, "UTC", (), None, NOON)
    assert job.spec is None
    assert where in job.notes[0].text


def test_a_value_that_is_a_kind_of_text_or_number_is_written_as_that() -> None:
    entry = {"task": "t", "schedule": 60, "args": (Shop("a"), Level.HIGH), "kwargs": {Shop("k"): JobState.ACTIVE}}
    written = yaml.safe_load(manifest(read_beat("x", entry, "UTC", (), None, NOON)))
    assert written["spec"]["payload"] == {"task": "t", "args": ["a", 3], "kwargs": {"k": str(JobState.ACTIVE)}}


def test_one_odd_entry_does_not_keep_the_others_from_being_imported(tmp_path: Path) -> None:
    text = "from datetime import timedelta\nbeat_schedule = {'odd': timedelta, 7: {'task': 't', 'schedule': 60}}\n"
    (tmp_path / "odd_config.py").write_text(text)
    command = [sys.executable, "-m", "scheduledjobs", "import", "celery-beat", "--app", "odd_config:beat_schedule"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.returncode == 1, said.stderr
    assert "not imported: Celery beat entry odd: an entry of type type cannot be read: a mapping can" in said.stderr
    assert found(said.stdout)["7"]["fixedRate"] == "1m"


@pytest.mark.parametrize(
    ("schedule", "changed", "what"),
    [
        ("interval", {"every": 10**12, "period": "days"}, "interval of 1000000000000 days"),
        ("interval", {"every": None, "period": "days"}, "interval of None days"),
        ("clocked", {"clocked_time": "infinity"}, "'infinity' is no time that can be read"),
    ],
)
def test_a_row_whose_time_is_out_of_reach_is_not_imported(schedule: str, changed: dict[str, Any], what: str) -> None:
    row = table_row(schedule)
    with pytest.raises(CannotImport, match=what):
        read_row({**row, schedule: {**row[schedule], **changed}})


def test_both_day_fields_of_celery_are_a_weekday_of_certain_weeks() -> None:
    schedule = read("first-monday").schedule
    days = [moment.date() for moment in moments(schedule, NOON, NOON + timedelta(days=365))]
    assert len(days) == 12
    assert all(day.day <= 7 and day.isoweekday() == 1 for day in days)


@pytest.mark.parametrize("hours", [{0, 8, 16}, {1, 2, 3, 5, 7, 8}, {23}, set(range(24)), {0, 1}, {0, 12}])
def test_a_set_of_numbers_and_the_field_made_of_it_are_the_same(hours: set[int]) -> None:
    entry = {"task": "t", "schedule": crontab({7}, hours, set(range(1, 32)), set(range(1, 13)), set(range(7)))}
    schedule = read_beat("x", entry, "UTC", (), None, NOON).schedule
    assert schedule is not None
    fires = list(moments(schedule, NOON, NOON + timedelta(days=1)))
    assert {moment.hour for moment in fires} == hours
    assert {moment.minute for moment in fires} == {7}


def test_a_file_with_the_schedule(tmp_path: Path) -> None:
    path = tmp_path / "beat.json"
    entries = {"a": {"task": "t", "schedule": "0 9 * * *"}, "b": {"task": "t", "schedule": 90}}
    path.write_text(json.dumps({"timezone": "Asia/Tokyo", "beat_schedule": entries}))
    said = run("--file", str(path), "--handler", "*=celery")
    assert said.returncode == 0, said.stderr
    specs = found(said.stdout)
    assert specs["a"]["timeZone"] == "Asia/Tokyo"
    assert specs["b"]["fixedRate"] == "1m30s"


def test_the_tables_of_django_celery_beat(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
    said = run("--handler", "*=celery", SCHEDULEDJOBS_IMPORT_DATABASE_URL=database)
    assert said.returncode == 1, said.stderr
    assert "5 of 8 jobs imported, 3 not" in said.stderr
    specs = found(said.stdout)
    assert specs["quarter"]["payload"] == {"task": "a.b", "args": [1], "kwargs": {"x": 2}, "queue": "slow"}
    assert specs["quarter"]["startingDeadline"] == "1m"
    assert specs["workdays-at-nine"]["schedule"] == "0 9 * * mon-fri"
    assert specs["workdays-at-nine"]["timeZone"] == "Europe/Berlin"
    assert specs["weeks"]["schedule"] == "0 9 * * 1#1,1#2"
    assert specs["ten"] == {**specs["ten"], "fixedRate": "10s", "suspend": True}
    assert specs["new-year"]["runAt"].startswith("2027-01-01T00:00:00")


def table_row(schedule: str, **columns: Any) -> dict[str, Any]:
    """A row as the statement returns it: a task, and the one schedule that it has."""
    schedules: dict[str, Any] = {
        "crontab": {**dict.fromkeys(CRON, "*"), "minute": "0", "timezone": "Europe/Berlin"},
        "interval": {"every": 10, "period": "minutes"},
        "clocked": {"clocked_time": "2027-01-01T00:00:00+00:00"},
    }
    task = {"name": "x", "task": "t", "args": "[]", "kwargs": "{}", "headers": "{}", "enabled": True, **columns}
    return {**dict.fromkeys([*schedules, "solar"]), schedule: schedules[schedule], "task": task}


def read_table(schedule: str, **columns: Any) -> Imported:
    entry, zone = read_row(table_row(schedule, **columns))
    return read_beat("x", entry, zone, (), None, NOON)


@pytest.mark.parametrize("schedule", ["crontab", "interval"])
def test_the_start_time_of_a_task_is_the_jobs(schedule: str) -> None:
    job = read_table(schedule, start_time="2026-12-24T06:05:00+01:00")
    assert job.spec is not None
    assert job.spec["startTime"] == "2026-12-24T06:05:00+01:00"
    assert job.schedule is not None
    first = {"crontab": datetime(2026, 12, 24, 6, tzinfo=UTC), "interval": datetime(2026, 12, 24, 5, 5, tzinfo=UTC)}
    assert moments(job.schedule, NOON, NOON + timedelta(days=40), NOON).first == first[schedule]
    assert Difference.GRID in differences(job)
    assert "from the creation" not in str(job.notes)


def test_a_clocked_task_is_due_at_its_time_whatever_its_start_time() -> None:
    spec = read_table("clocked", start_time="2026-12-24T06:00:00+00:00", one_off=True).spec
    assert spec is not None
    assert spec["runAt"] == "2027-01-01T00:00:00Z"
    assert "startTime" not in spec


@pytest.mark.parametrize("schedule", ["crontab", "interval"])
def test_a_one_off_without_a_time_of_its_own_is_not_imported(schedule: str) -> None:
    with pytest.raises(CannotImport, match="one-off of the next moment of its schedule"):
        read_row(table_row(schedule, one_off=True))


def test_headers_of_a_task_are_lost_and_named() -> None:
    notes = read_table("crontab", headers='{"tenant": "a"}').notes
    assert [note.text for note in notes if note.difference is Difference.OPTIONS] == [
        "headers of options have no equivalent"
    ]
    assert Difference.OPTIONS not in differences(read_table("crontab"))


def test_a_database_without_the_tables_is_a_wrong_address(database: str) -> None:
    said = run("--url", database)
    assert said.returncode == 2
    assert "are they django-celery-beat's tables?" in " ".join(said.stderr.split())


def test_a_shadow_asks_the_schedule_itself_and_does_not_wait() -> None:
    said = run("--app", "beat_config:beat_schedule", "--shadow", "1h")
    assert [line.split()[-3:] for line in said.stdout.splitlines() if "object" in line] == [["6", "0", "0"]]


def test_a_shadow_asks_a_crontab_in_the_zone_that_it_is_imported_in() -> None:
    """As beat binds it to its own app; Celery of before 5.7 reads the moments it is given, in their zone."""
    daily = crontab({30}, {7}, set(range(1, 32)), set(range(1, 13)), set(range(7)))
    entry = {"task": "t", "schedule": daily}
    job = read_beat("x", entry, "Europe/Berlin", (), None, NOON)
    (compared,) = compare_ahead([job], [entry], NOON, NOON + timedelta(days=1))
    assert compared.same == (datetime(2026, 11, 28, 6, 30, tzinfo=UTC),)
    assert not compared.differs
    assert str(daily.nowfun().tzinfo) == "Europe/Berlin"
