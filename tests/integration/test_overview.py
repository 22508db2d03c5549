"""The overview says that all is well only of what it has looked at, and says where it has not counted to the end."""

from __future__ import annotations

import re
from datetime import timedelta

import psycopg
import pytest
from tests.integration.conftest import Stage, resource
from tests.pages.asgi import call
from tests.pages.ui_stub import Auth

from scheduledjobs.handlers import load_registry
from scheduledjobs.store.partitions import ensure_days
from scheduledjobs.store.sessions import connect
from scheduledjobs.web import ui
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.reads import Reads
from scheduledjobs.web.sessions import web_sessions
from scheduledjobs.web.site import build

ROWS = """
INSERT INTO job_execution_log (
    fire_time, namespace, job_name, state, reason, trigger, handler, job_id, version, started_at, finished_at
)
SELECT now() - (%(ago)s + n) * interval '1 second', namespace, name, %(state)s, %(reason)s, 'SCHEDULE', 'log', id, 1,
    now(), now()
FROM job_definition, generate_series(1, %(count)s) AS n
WHERE name = %(job)s
"""
LEADS = "UPDATE scheduler_instance SET is_leader = true, heartbeat_at = now() + interval '1 hour'"


async def add(stage: Stage, job: str, state: str, *, ago: int, count: int = 1, reason: str = "") -> None:
    """Write rows of a job, a second apart, the newest that many seconds before now."""
    now = await stage.now()
    async with connect(stage.url, "test") as conn:
        await ensure_days(conn, (now - timedelta(days=2)).date(), now.date())
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(ROWS, {"job": job, "state": state, "ago": ago, "count": count, "reason": reason})


async def overview(stage: Stage) -> str:
    """Return the words of the page, where one replica leads."""
    await stage.replica()
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(LEADS)
    hub = Hub()
    async with web_sessions(stage.url) as sessions:
        reads = Reads(sessions, load_registry(), hub)
        app = build(reads=reads, writes=None, auth=Auth(), hub=hub, mount=ui.mount)
        answer = await call(app, "GET", "/ui/")
    assert answer.status == 200
    return " ".join(re.sub("<[^>]*>", " ", answer.body.decode()).split())


async def test_all_is_well_where_every_job_that_failed_has_recovered(stage: Stage) -> None:
    await stage.mirror(resource("busy", fixedRate="1s"))
    await add(stage, "busy", "FAILED", ago=10, count=4)
    await add(stage, "busy", "SUCCEEDED", ago=1)
    assert "All is well" in await overview(stage)


async def test_all_is_not_said_to_be_well_where_not_every_failure_was_looked_at(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.web.reads.MOST_TROUBLES", 4)
    await stage.mirror(resource("busy", fixedRate="1s"), resource("weekly", fixedRate="168h"))
    await add(stage, "weekly", "FAILED", ago=3600)
    await add(stage, "busy", "FAILED", ago=10, count=4)
    await add(stage, "busy", "SUCCEEDED", ago=1)
    found = await overview(stage)
    assert "All is well" not in found
    assert "No job fails" not in found
    assert "Not every failure was looked at" in found


async def test_the_headline_counts_the_jobs_that_the_list_leaves_out(stage: Stage) -> None:
    names = [f"job-{number}" for number in range(23)]
    await stage.mirror(*(resource(name, fixedRate="1h") for name in names))
    for name in names:
        await add(stage, name, "TIMED_OUT", ago=60)
    assert "23 jobs fail " in await overview(stage)


async def test_the_headline_says_where_more_jobs_may_fail(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduledjobs.web.reads.MOST_TROUBLES", 4)
    await stage.mirror(resource("busy", fixedRate="1s"))
    await add(stage, "busy", "FAILED", ago=10, count=5)
    assert "1+ jobs fail " in await overview(stage)


async def test_what_failed_and_was_missed_are_at_least_so_many_where_both_together_reach_the_limit(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.mirror(resource("busy", fixedRate="1s"))
    await add(stage, "busy", "FAILED", ago=10, count=3)
    await add(stage, "busy", "MISSED", ago=20, count=2, reason="TooLate")
    found = await overview(stage)
    assert "Failed in 24 h 3 " in found
    assert "Missed in 24 h 2 " in found
    monkeypatch.setattr("scheduledjobs.web.reads.MOST_TROUBLES", 4)
    found = await overview(stage)
    assert "Failed in 24 h 3+ " in found
    assert "Missed in 24 h 1+ " in found


async def test_what_was_coalesced_is_not_missed(stage: Stage) -> None:
    """Another run stands for it: notices and alerts leave it out, too."""
    await stage.mirror(resource("busy", fixedRate="1s"))
    await add(stage, "busy", "MISSED", ago=10, count=3, reason="Coalesced")
    await add(stage, "busy", "MISSED", ago=20, reason="OverLimit")
    assert "Missed in 24 h 1 " in await overview(stage)


async def test_what_is_due_is_said_not_to_be_all_where_not_every_job_was_counted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.mirror(*(resource(f"job-{number}", fixedRate="40m") for number in range(3)))
    monkeypatch.setattr("scheduledjobs.web.reads.MOST_AGENDA", 3)
    found = await overview(stage)
    assert "Due in the next hour 3 " in found
    assert "All jobs, by quarter of an hour" in found
    monkeypatch.setattr("scheduledjobs.web.reads.MOST_AGENDA", 2)
    found = await overview(stage)
    assert "Due in the next hour 2+ " in found
    assert "By quarter of an hour; not all jobs are counted" in found
