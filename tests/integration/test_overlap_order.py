"""What is live is read in a later statement than the one that locks the job, or two transactions both find it idle."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.steps import fire
from scheduledjobs.store.jobs import advance_jobs
from scheduledjobs.store.sessions import Connection

RUN_NOW = """
INSERT INTO job_execution_log
    (fire_time, namespace, job_name, state, trigger, handler, job_id, version, visible_at, run_key)
SELECT now(), namespace, name, 'PENDING', 'MANUAL', handler, id, version, now(), 'token'
FROM job_definition WHERE name = 'job'
"""


async def test_what_became_live_just_before_the_job_was_locked_is_in_the_way(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run-now is committed after the fire's transaction has begun, and before it has the job's row."""

    async def after_a_run_now(conn: Connection, rows: Any) -> Any:
        with psycopg.connect(stage.url, autocommit=True) as other:
            other.execute(RUN_NOW)
        return await advance_jobs(conn, rows)

    await stage.mirror(resource("job", fixedRate="10s"))
    stage.tick(seconds=11)
    monkeypatch.setattr(fire, "advance_jobs", after_a_run_now)
    await stage.fire()
    rows = {row["trigger"]: row for row in stage.rows()}
    assert (rows["SCHEDULE"]["state"], rows["SCHEDULE"]["reason"]) == ("SKIPPED", "Overlap")
    assert rows["SCHEDULE"]["blocked_by"] == rows["MANUAL"]["id"]
