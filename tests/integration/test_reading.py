"""What REST and the pages read: each question reads the rows that it shows, however long the history is."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from dev.postgres import Postgres
from tests.integration import history
from tests.integration.plans import rows_read

from scheduledjobs.handlers import load_registry
from scheduledjobs.store import reading
from scheduledjobs.store.sessions import Connection, connect
from scheduledjobs.web.filters import ExecutionFilters, JobFilters
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.reads import FAR_AHEAD, LONG_AGO, Reads
from scheduledjobs.web.sessions import web_sessions

LOG = "job_execution_log"
ANY_JOBS: dict[str, Any] = {
    "namespaces": None,
    "ids": None,
    "states": None,
    "handler": None,
    "words": None,
    "outcome": None,
    "managers": None,
    "gitops": ["helm"],
    "recent": 60,
    "namespace_after": "",
    "name_after": "",
    "id_after": UUID(int=0),
    "most": 51,
}
ANY_EXECUTIONS: dict[str, Any] = {
    "job_id": history.job_id(500),
    "since": LONG_AGO,
    "until": FAR_AHEAD,
    "states": None,
    "triggers": None,
    "fire_time_before": FAR_AHEAD,
    "id_before": 0,
    "most": 51,
}


@pytest.fixture(scope="module")
def month(postgres_server: Postgres) -> Iterator[str]:
    """The URL of a database with a month of history; nothing is changed in it."""
    name = f"month_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template".encode())
    url = postgres_server.url.rsplit("/", 1)[0] + f"/{name}"
    asyncio.run(history.fill(url, history.now()))
    yield url
    with psycopg.connect(postgres_server.url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Connection]:
    async with connect(url, "test", statement_timeout="30s") as conn:
        yield conn


async def test_a_page_of_jobs_reads_the_outcomes_that_it_shows(month: str) -> None:
    async with session(month) as conn:
        read = await rows_read(conn, "read_jobs", **ANY_JOBS)
    assert read[LOG] <= 52 * 60
    assert read["job_definition_version"] <= 2 * 52


async def test_a_page_of_jobs_reads_no_job_of_another_page(month: str) -> None:
    async with session(month) as conn:
        read = await rows_read(conn, "read_jobs", **{**ANY_JOBS, "namespace_after": "team-10", "name_after": "job-5"})
    assert read["job_definition"] <= 60


async def test_a_page_of_one_namespace_reads_no_other(month: str) -> None:
    async with session(month) as conn:
        read = await rows_read(conn, "read_jobs", **{**ANY_JOBS, "namespaces": ["team-07"]})
    assert read["job_definition"] <= 60
    assert read[LOG] <= 50 * 60


async def test_jobs_are_filtered_before_their_outcomes_are_read(month: str) -> None:
    async with session(month) as conn:
        failed = await rows_read(conn, "read_jobs", **{**ANY_JOBS, "namespaces": ["team-07"], "outcome": "FAILED"})
        words = await rows_read(conn, "read_jobs", **{**ANY_JOBS, "words": ["%job-000123%"]})
    assert failed[LOG] <= 50  # none has failed: one look at each
    assert words[LOG] <= 60


async def test_one_job_is_found_by_its_id(month: str) -> None:
    states = ["ACTIVE", "DELETED"]
    async with session(month) as conn:
        read = await rows_read(
            conn, "read_jobs", **{**ANY_JOBS, "ids": [history.job_id(500)], "states": states, "most": 1}
        )
    assert (read["job_definition"], read[LOG]) == (1, 60)


async def test_a_page_of_executions_reads_the_rows_that_it_shows(month: str) -> None:
    async with session(month) as conn:
        newest = await rows_read(conn, "read_executions", **ANY_EXECUTIONS)
        before = history.now() - timedelta(days=14)
        later = await rows_read(
            conn, "read_executions", **{**ANY_EXECUTIONS, "fire_time_before": before, "id_before": 5}
        )
    assert newest[LOG] <= 52
    assert later[LOG] <= 52


async def test_a_range_of_executions_reads_no_other_day(month: str) -> None:
    until = history.now() - timedelta(days=10)
    params = {**ANY_EXECUTIONS, "since": until - timedelta(days=1), "until": until, "fire_time_before": until}
    async with session(month) as conn:
        assert (await rows_read(conn, "read_executions", **params))[LOG] <= 5


async def test_what_failed_of_a_job_is_looked_for_in_that_job_or_in_what_failed(month: str) -> None:
    async with session(month) as conn:
        read = await rows_read(conn, "read_executions", **{**ANY_EXECUTIONS, "states": ["FAILED"]})
    assert read[LOG] <= history.JOBS * history.EACH / 50


async def test_one_execution_is_found_by_its_id(month: str) -> None:
    async with session(month) as conn:
        assert (await rows_read(conn, "read_execution", id=60_000))[LOG] == 1
        assert (await rows_read(conn, "read_outputs", id=60_000, fire_time=history.now()))["job_execution_output"] == 0


async def test_the_namespaces_cost_a_step_each(month: str) -> None:
    async with session(month) as conn:
        read = await rows_read(conn, "read_namespaces")
        assert await reading.read_namespaces(conn) == [*(f"team-{n:02d}" for n in range(20)), "zoo"]
    assert read["job_definition"] <= 22


async def test_the_overview_reads_what_failed_and_not_what_went_well(month: str) -> None:
    a_day, a_week = history.JOBS * 4, history.JOBS * 4 * 7
    async with session(month) as conn:
        troubles = await rows_read(conn, "count_troubles", namespaces=None, most=10_000)
        failing = await rows_read(conn, "find_failing", namespaces=None, most=10_000)
        lateness = await rows_read(conn, "read_lateness", namespaces=None, most=5_000)
    assert troubles[LOG] < a_day / 2
    assert failing[LOG] < a_week / 2
    assert lateness[LOG] <= 5_000 + 38


async def test_the_heat_of_a_job_reads_its_last_week(month: str) -> None:
    since = history.now() - timedelta(days=7)
    async with session(month) as conn:
        read = await rows_read(conn, "read_heat", job_id=history.job_id(3), since=since, most=20_000)
    assert read[LOG] <= 4 * 7 + 1


async def test_how_long_the_pages_take(month: str) -> None:
    seen: dict[str, list[float]] = {}

    async with web_sessions(month) as sessions:
        reads = Reads(sessions, load_registry(), Hub())
        questions = {
            "50 jobs with 60 outcomes each": lambda: reads.jobs(None, JobFilters(recent=60)),
            "50 executions": lambda: reads.executions(None, str(history.job_id(9)), ExecutionFilters()),
            "one job": lambda: reads.job(None, "team-09.job-000009"),
            "one execution": lambda: reads.execution(None, 60_000),
            "overview": lambda: reads._overview(None),
        }
        for _ in range(12):  # psycopg prepares a statement when it is used for the sixth time
            for name, ask in questions.items():
                began = time.perf_counter()
                await ask()
                seen.setdefault(name, []).append(1000 * (time.perf_counter() - began))
        page = await reads.jobs(None, JobFilters(recent=60))
    assert [len(job.recent) for job in page.items] == [60] * 50
    for name, times in seen.items():
        print(f"{name}: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")
    assert statistics.median(seen["50 jobs with 60 outcomes each"]) < 300  # a bound for a busy machine
