"""Faults of clocks: of one replica, of the database; and replicas that are all gone for a while."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.acceptance.conftest import job, until
from tests.faults.gateway import Gateway
from tests.faults.stage import HERE, NAMES, Stage, clock, figures, load

SOURCE = HERE / "wall_clock.c"
COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler for the library that sets a clock")
ON_TIME = timedelta(seconds=0.25)
LATE_AT_MOST = 1.5


@contextmanager
def wall_clock(file: Path) -> Iterator[None]:
    """What starts in the block has a wall clock that the file sets; the monotonic one stays true."""
    library = file.with_suffix(".so")
    assert COMPILER is not None
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    settings = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(file)}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            del os.environ[name]


def set_wall_clock(file: Path, seconds: int) -> None:
    """Set the clock, in one stroke, in place: it is mapped by whoever has it."""
    file.touch()
    with file.open("r+b") as place:
        place.write(struct.pack("q", seconds))


def start(stage: Stage, which: str, file: Path) -> str:
    """Start three replicas, of which the one whose clock is a file leads or does not; return its name.

    It speaks to the API server without TLS: certificates an hour younger than its clock are another matter.
    """
    skewed = "one" if which == "the leader" else "two"
    stage.gateways[skewed] = Gateway(stage.network, stage.cluster)
    for name in NAMES:
        if name == skewed:
            with wall_clock(file):
                stage.start(name)
        else:
            stage.start(name)
        if name == "one":
            stage.wait_leader()
    for name in NAMES:
        until(lambda name=name: stage.is_ready(name), 30)
    assert stage.leader() == "one"
    stage.skewed.add(stage.processes[skewed].pid)
    return skewed


def off(stage: Stage, name: str) -> float:
    """Return how far the wall clock of a replica's handlers is from ours, by their newest note."""
    pid = stage.processes[name].pid
    ours = datetime.now(UTC).timestamp()
    notes = [note for note in stage.notes() if note["pid"] == pid]
    return max((note["wall"] for note in notes[-5:]), default=ours) - ours


def lateness(stage: Stage, since: datetime) -> list[float]:
    """Return how late first attempts of moments on a grid began, sorted, in seconds by the database's clock."""
    rows = stage.rows(
        "SELECT lateness_ms / 1000.0 AS late FROM job_execution_log WHERE lateness_ms IS NOT NULL AND fire_time >= %s"
        " AND job_name SIMILAR TO '(fine|forbid|allow|cron|busy)-%%' AND attempt = 1 ORDER BY 1",
        since,
    )
    return [float(row["late"]) for row in rows]


def term(stage: Stage) -> int:
    """Return the number of the term in force."""
    return int(stage.row("SELECT term FROM leadership")["term"])


@needs_compiler
@pytest.mark.parametrize("which", ["the leader", "a worker"])
@pytest.mark.parametrize("offsets", [(3600,), (-3600,), (10, 10)], ids=["+1 h", "-1 h", "10 s always"])
def test_the_wall_clock_of_a_replica_is_set(stage: Stage, tmp_path: Path, which: str, offsets: tuple[int, ...]) -> None:
    file = tmp_path / "clock"
    is_constant = len(offsets) > 1
    set_wall_clock(file, offsets[0] if is_constant else 0)
    name = start(stage, which, file)
    since = stage.load()
    until(lambda: stage.now() > since, 10)
    before = term(stage)
    if not is_constant:
        stage.run_for(2)
        set_wall_clock(file, offsets[0])
    until(lambda: abs(off(stage, name) - offsets[0]) < 3, 10)
    stage.run_for(8)
    times = lateness(stage, since)
    verdict = stage.judge(figures(p99_late=times[int(len(times) * 0.99)], max_late=times[-1]))
    assert term(stage) == before, "the leadership was lost"
    assert times[int(len(times) * 0.99)] < LATE_AT_MOST
    assert verdict.gap < timedelta(seconds=1)


# The database's clock.


def end_sessions(stage: Stage) -> int:
    """End every session of the replicas, so that the next ones have the time that is set now."""
    with psycopg.connect(stage.url, autocommit=True) as conn:
        query = (
            b"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            b" WHERE datname = current_database() AND application_name LIKE 'scheduledjobs%'"
        )
        row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def set_database_clock(stage: Stage, offset: str) -> None:
    """Set it for all, at once. From here on no wall clock says what the database's says."""
    stage.skewed.update(process.pid for process in stage.processes.values())
    with clock(stage, offset):
        assert end_sessions(stage) > len(NAMES)


def by_rule(start: datetime) -> list[dict[str, Any]]:
    """Return the load and some jobs of the other misfire policies."""
    at = {"startTime": start.isoformat().replace("+00:00", "Z"), "fixedRate": "5s", "handler": "witness"}
    return [
        *load(start),
        *[job(f"all-{n}", misfire={"policy": "FireAll", "limit": 5}, **at) for n in range(2)],
        *[job(f"skip-{n}", misfire={"policy": "Skip"}, **at) for n in range(2)],
    ]


def check_misfires(stage: Stage, since: datetime) -> None:
    """What was missed for longer than its grace: one run under FireOnce, the limit under FireAll, none under Skip."""
    rows = stage.rows(
        "SELECT j.name, count(*) FILTER (WHERE e.trigger = 'CATCH_UP') AS made_up,"
        " max(e.missed_count) AS missed FROM job_definition AS j LEFT JOIN job_execution_log AS e"
        " ON e.job_id = j.id AND e.fire_time >= %s WHERE j.schedule_kind <> 'FIXED_DELAY' GROUP BY j.name",
        since,
    )
    expected = {"all": 5, "skip": 0}
    wrong = [row for row in rows if row["made_up"] != expected.get(row["name"].split("-")[0], 1)]
    assert not wrong, wrong[:5]
    assert stage.count("reason = 'Coalesced' AND moment_count > 10") >= 20
    assert stage.count("reason = 'TooLate' AND moment_count > 3") >= 2
    assert stage.count("reason = 'OverLimit'") >= 2


def on_time_again(stage: Stage, since: datetime) -> float:
    """Return how long after `since`, by our clock, the first on-time moment fired."""
    query = (
        "SELECT min(a.at) AS at FROM audit AS a JOIN job_execution_log AS e ON e.id = a.execution_id"
        " WHERE a.at > %s AND e.trigger = 'SCHEDULE' AND e.state NOT IN ('MISSED', 'SKIPPED')"
        " AND a.at + (scheduler_now() - now()) - e.fire_time BETWEEN interval '0' AND %s"
    )
    found = until(lambda: stage.row(query, since, ON_TIME)["at"], 60)
    return float((found - since).total_seconds())


def start_by_rule(stage: Stage) -> None:
    """Start all with a load of every misfire policy."""
    stage.start_all()
    begin = (datetime.now(UTC) + timedelta(seconds=5)).replace(microsecond=0)
    stage.load(by_rule(begin))
    until(lambda: stage.now() > begin, 10)
    stage.run_for(5)


def test_the_clock_of_the_database_is_set_an_hour_ahead(stage: Stage) -> None:
    start_by_rule(stage)
    before, since = stage.now(), datetime.now(UTC)
    set_database_clock(stage, "1 hour")
    took = on_time_again(stage, since)
    stage.run_for(3)
    steps = sum(stage.metric(name, "scheduledjobs_clock_steps_total") for name in NAMES)
    stage.judge(figures(on_time_after=took, steps_seen=steps, rows_missed=stage.count("state = 'MISSED'")))
    assert steps >= len(NAMES)
    check_misfires(stage, before)


def test_the_clock_of_the_database_is_set_an_hour_back_and_ahead_again(stage: Stage) -> None:
    """While it is back nothing is due that is not decided; then all goes on where it was."""
    start_by_rule(stage)
    until(lambda: stage.count("state IN ('PENDING', 'RUNNING') AND attempt = 0") == 0, 10, 0.01)
    set_database_clock(stage, "-1 hour")
    set_back = datetime.now(UTC)
    steps = lambda: [stage.metric(name, "scheduledjobs_clock_steps_total") for name in NAMES]  # noqa: E731
    until(lambda: all(each >= 1 for each in steps()), 15)
    count = stage.count("run_key = ''")
    grids = "run_key = '' AND job_id IN (SELECT id FROM job_definition WHERE schedule_kind <> 'FIXED_DELAY')"
    decided = stage.count(grids)
    stage.run_for(5)
    assert stage.count(grids) == decided, "a moment was decided before the newest decided one"
    again = datetime.now(UTC)
    set_database_clock(stage, "0")
    took = on_time_again(stage, again)
    stage.run_for(3)
    stage.judge(
        figures(
            rows_before=count,
            on_time_after=took,
            back_for=(again - set_back).total_seconds(),
            lost_rows=stage.count("state = 'LOST'"),
        )
    )
    assert all(each >= 2 for each in steps())
    assert stage.count("state = 'MISSED'") == 0


# All replicas gone.


@pytest.mark.parametrize("how", ["90 s", "10 min by the clock"])
def test_all_replicas_are_gone_for(stage: Stage, how: str) -> None:
    start_by_rule(stage)
    before = stage.now()
    for name in NAMES:
        stage.kill(name)
    if how == "90 s":
        stage.run_for(90)
    else:
        with clock(stage, "10 minutes"):
            pass
    since = datetime.now(UTC)
    for name in NAMES:
        stage.start(name)
    if how != "90 s":
        stage.skewed.update(process.pid for process in stage.processes.values())
    took = on_time_again(stage, since)
    for name in NAMES:
        until(lambda name=name: stage.is_ready(name), 30)
    stage.judge(figures(on_time_after=took, missed=stage.count("state = 'MISSED'")))
    check_misfires(stage, before)
    assert took < 20
