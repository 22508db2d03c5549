"""A month of history: ten thousand jobs, of which a thousand have run a hundred and twenty thousand times.

The days are those that a leader has made.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from scheduledjobs.store.partitions import ensure_days
from scheduledjobs.store.sessions import connect

JOBS = 1000
EACH = 120
"""Executions of each job, six hours apart: the newest 60 lie in 15 days."""

IDLE = 9000
"""Jobs that have not run yet, in one namespace after all others."""

NAMESPACES = 20
REPLICA = UUID(int=7)

SPEC = '{"schedule": "0 */6 * * *", "handler": "log", "payload": {"message": "hello"}}'
JOBS_SQL = """
INSERT INTO job_definition (
    id, namespace, name, version, resource_version, spec, schedule_kind, handler, state, reason, effective_from,
    next_fire_at, next_due_at, last_fire_time, created_at, updated_at
)
SELECT
    lpad(n::text, 32, '0')::uuid,
    CASE WHEN n <= %(jobs)s THEN 'team-' || lpad((n %% %(namespaces)s)::text, 2, '0') ELSE 'zoo' END,
    'job-' || lpad(n::text, 6, '0'), 1, n, %(spec)s, 'CRON', 'log', 'ACTIVE', 'Scheduled', now() - interval '30 days',
    now() + interval '1 hour', now() + interval '1 hour', now() - interval '1 hour', now() - interval '30 days', now()
FROM generate_series(1, %(jobs)s + %(idle)s) AS n
"""
VERSIONS_SQL = """
INSERT INTO job_definition_version (
    job_id, version, recorded_at, spec, effective_from, suspended, field_manager, state
)
SELECT id, 1, created_at, spec, effective_from, false, 'kubectl', 'ACTIVE' FROM job_definition
"""
ROWS_SQL = """
INSERT INTO job_execution_log (
    fire_time, namespace, job_name, state, reason, duration_ms, lateness_ms, attempt, trigger, handler, started_at,
    finished_at, job_id, version, claim_no, claimed_by
)
SELECT
    at, j.namespace, j.name, CASE WHEN (k + j.resource_version) %% 50 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END, 'Success',
    k, 3, 1, 'SCHEDULE', 'log', at, at, j.id, 1, 1, %(replica)s
FROM generate_series(%(each)s - 1, 0, -1) AS k
JOIN job_definition AS j ON j.namespace <> 'zoo'
CROSS JOIN LATERAL (SELECT %(now)s - interval '1 minute' - k * interval '6 hours') AS t (at)
"""
REPLICA_SQL = """
INSERT INTO scheduler_instance (id, hostname, version, started_at, heartbeat_at, slots, handlers)
VALUES (%(replica)s, 'one', '1', now(), now(), 4, '{log}')
"""


async def fill(url: str, now: datetime) -> None:
    """Fill a database: thirty days of past, and the days that the leader makes ahead."""
    values = {
        "namespaces": NAMESPACES,
        "jobs": JOBS,
        "idle": IDLE,
        "each": EACH,
        "replica": REPLICA,
        "spec": SPEC,
        "now": now,
    }
    async with connect(url, "test", statement_timeout="120s") as conn:
        await ensure_days(conn, (now - timedelta(days=30)).date(), (now + timedelta(days=7)).date())
        for statement in (REPLICA_SQL, JOBS_SQL, VERSIONS_SQL, ROWS_SQL):
            await conn.execute(statement.encode(), values)
        await conn.execute("VACUUM ANALYZE")


def job_id(number: int) -> UUID:
    """Return the id of a job, from 1 on."""
    return UUID(f"{number:032d}")


def now() -> datetime:
    """Return the time up to which the past is made."""
    return datetime.now(UTC)
