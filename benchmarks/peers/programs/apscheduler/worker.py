"""APScheduler 3 with its SQLAlchemyJobStore: a row is deleted when its job is handed to a thread."""

from __future__ import annotations

import signal
import threading
import time
from datetime import UTC, datetime
from typing import Any

import psycopg
from apscheduler.events import EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

THREADS = {"best": 20, "default": 10}
HISTORY = "CREATE TABLE IF NOT EXISTS bench_history (job text NOT NULL, finished_at timestamptz NOT NULL DEFAULT now())"
SEEN: list[tuple[float, float]] | None = None


def noop(due: float) -> None:
    """Keep when it was started."""
    if SEEN is not None:
        SEEN.append((due, time.time() * 1000))


def _scheduler(url: str, mode: str = "default") -> BackgroundScheduler:
    return BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=url.replace("postgresql://", "postgresql+psycopg://", 1))},
        executors={"default": ThreadPoolExecutor(THREADS[mode])},
        # By default a job that is late by more than a second is not run at all.
        job_defaults={"misfire_grace_time": None},
        timezone=UTC,
    )


def create(url: str) -> None:
    """Make the schema, which the job store does itself, and the table of the history."""
    scheduler = _scheduler(url)
    scheduler.start(paused=True)
    scheduler.shutdown()
    with psycopg.connect(url) as connection:
        connection.execute(HISTORY)


def insert(url: str, dues: list[float], mode: str) -> None:
    """Insert a job for each due moment, one by one: there is no bulk API."""
    scheduler = _scheduler(url, mode)
    scheduler.start(paused=True)
    for due in dues:
        moment = datetime.fromtimestamp(due / 1000, UTC) if due else datetime.now(UTC)
        scheduler.add_job("worker:noop", "date", run_date=moment, kwargs={"due": due})
    scheduler.shutdown()


def work(url: str, mode: str, seen: list[tuple[float, float]] | None, *, has_history: bool = False) -> None:
    """Run jobs until SIGTERM; the history is written by a listener, as its guide has it, in the job's own thread."""
    global SEEN
    SEEN = seen
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    scheduler = _scheduler(url, mode)
    if has_history:
        scheduler.add_listener(_keeper(url), EVENT_JOB_EXECUTED)
    scheduler.start()
    print("ready", flush=True)
    stopping.wait()
    scheduler.shutdown()


def _keeper(url: str) -> Any:
    local = threading.local()

    def keep(event: JobExecutionEvent) -> None:
        if not hasattr(local, "connection"):
            local.connection = psycopg.connect(url, autocommit=True)
        local.connection.execute("INSERT INTO bench_history (job) VALUES (%s)", [event.job_id])

    return keep
