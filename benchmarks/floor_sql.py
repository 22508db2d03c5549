"""The statements of the floor: as few columns as will do, and the project's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs.store.queries import batch, sql

HANDLER = "noop"
REPLICA = UUID(int=1)
FIRST = datetime.now(UTC) - timedelta(hours=1)
"""The fire time of the first batch; each batch after it is a millisecond later."""

Claim = tuple[int, datetime, int]
"""What a completion needs of a claim: id, fire time and claim_no."""


@dataclass(frozen=True, slots=True)
class Statements:
    """One way to fire, claim and complete a batch."""

    name: str
    fire: bytes
    claim: bytes
    complete: bytes
    fire_params: Callable[..., dict[str, Any]]
    claim_params: Callable[[int], dict[str, Any]]
    read_claim: Callable[[tuple[Any, ...]], Claim]
    complete_params: Callable[[Sequence[Claim]], dict[str, Any]]


def job_id(worker: int, job: int) -> UUID:
    """Return the id of a job, as far from its neighbours as those of resources are."""
    return UUID(int=(worker * 1_000_000 + job + 1) * 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835 % (1 << 128))


def _fire_minimal(worker: int, number: int, size: int, *, is_claimed: bool) -> dict[str, Any]:
    return {
        "job_ids": [job_id(worker, job) for job in range(size)],
        "names": [f"job-{worker}-{job}" for job in range(size)],
        "fire_time": FIRST + timedelta(milliseconds=number),
        "claimed_by": REPLICA if is_claimed else None,
    }


def _claim_minimal(size: int) -> dict[str, Any]:
    return {"replica": REPLICA, "slots": size}


def _complete_minimal(claims: Sequence[Claim]) -> dict[str, Any]:
    return {
        "ids": [id_ for id_, _, _ in claims],
        "fire_times": [fire_time for _, fire_time, _ in claims],
        "replica": REPLICA,
    }


MINIMAL = Statements(
    name="minimal",
    fire=b"""
    WITH inserted AS (
        INSERT INTO job_execution_log AS e (
            fire_time, namespace, job_name, state, trigger, handler, job_id, version, visible_at, claimed_by, claim_no,
            attempt, claimed_at, started_at, lateness_ms
        )
        SELECT
            c.fire_time, 'default', r.name, CASE WHEN c.claimed_by IS NULL THEN 'PENDING' ELSE 'RUNNING' END,
            'SCHEDULE', 'noop', r.id, 1, c.fire_time, c.claimed_by, c.one, c.one, c.now, c.now,
            extract(epoch FROM c.now - c.fire_time) * 1000
        FROM unnest(%(job_ids)s::uuid[], %(names)s::text[]) AS r (id, name)
        CROSS JOIN (
            SELECT
                %(fire_time)s::timestamptz AS fire_time, %(claimed_by)s::uuid AS claimed_by,
                CASE WHEN %(claimed_by)s::uuid IS NULL THEN 0 ELSE 1 END AS one,
                CASE WHEN %(claimed_by)s::uuid IS NOT NULL THEN statement_timestamp() END AS now
        ) AS c
        RETURNING e.id, e.fire_time, e.claim_no, e.claimed_by
    )
    SELECT id, fire_time, claim_no FROM inserted WHERE claimed_by IS NOT NULL
    """,
    claim=b"""
    WITH picked AS MATERIALIZED (
        SELECT id, fire_time
        FROM job_execution_log
        WHERE state = 'PENDING' AND visible_at <= statement_timestamp()
        ORDER BY (trigger = 'CATCH_UP'), visible_at, id
        LIMIT %(slots)s
        FOR UPDATE SKIP LOCKED
    )
    UPDATE job_execution_log AS e
    SET state = 'RUNNING', claim_no = e.claim_no + 1, attempt = e.attempt + 1, claimed_by = %(replica)s,
        claimed_at = statement_timestamp(), started_at = statement_timestamp(),
        lateness_ms = extract(epoch FROM statement_timestamp() - e.fire_time) * 1000
    FROM unnest(ARRAY(SELECT id FROM picked), ARRAY(SELECT fire_time FROM picked)) AS p (id, fire_time)
    WHERE e.id = p.id AND e.fire_time = p.fire_time
    RETURNING e.id, e.fire_time, e.claim_no
    """,
    complete=b"""
    UPDATE job_execution_log AS e
    SET state = 'SUCCEEDED', finished_at = statement_timestamp(), duration_ms = 0
    FROM unnest(%(ids)s::bigint[], %(fire_times)s::timestamptz[]) AS r (id, fire_time)
    WHERE e.id = r.id AND e.fire_time = r.fire_time
        AND CASE e.state WHEN 'RUNNING' THEN e.claimed_by = %(replica)s END  -- so: complete_executions.sql
    """,
    fire_params=_fire_minimal,
    claim_params=_claim_minimal,
    read_claim=lambda row: (row[0], row[1], row[2]),
    complete_params=_complete_minimal,
)


def _fire_own(worker: int, number: int, size: int, *, is_claimed: bool) -> dict[str, Any]:
    fire_time = FIRST + timedelta(milliseconds=number)
    row = {
        "id": None,
        "fire_time": fire_time,
        "namespace": "default",
        "state": "PENDING",
        "reason": None,
        "trigger": "SCHEDULE",
        "message": None,
        "handler": HANDLER,
        "last_fire_time": None,
        "moment_count": None,
        "version": 1,
        "visible_at": fire_time,
        "due_at": None,
        "start_before": fire_time + timedelta(days=1),
        "blocked_by": None,
        "missed_count": None,
        "first_missed_at": None,
        "claimed_by": REPLICA if is_claimed else None,
    }
    jobs = ({**row, "job_id": job_id(worker, job), "job_name": f"job-{worker}-{job}"} for job in range(size))
    return {"rows": batch(jobs)}


def _claim_own(size: int) -> dict[str, Any]:
    return {"replica": REPLICA, "slots": size, "handlers": [HANDLER]}


def _complete_own(claims: Sequence[Claim]) -> dict[str, Any]:
    now = datetime.now(UTC)
    row = {
        "job_id": REPLICA,
        "retry_seconds": None,
        "state": "SUCCEEDED",
        "reason": None,
        "message": None,
        "result": None,
        "started_at": now,
        "finished_at": now,
        "duration_ms": 0,
        "abandoned": False,
    }
    rows = ({**row, "id": id_, "fire_time": fire_time, "claim_no": claim_no} for id_, fire_time, claim_no in claims)
    return {"rows": batch(rows), "replica": REPLICA}


OWN = Statements(
    name="the project's",
    fire=sql("insert_executions"),
    claim=sql("claim_executions"),
    complete=sql("complete_executions"),
    fire_params=_fire_own,
    claim_params=_claim_own,
    read_claim=lambda row: (row[0], row[1], row[9]),
    complete_params=_complete_own,
)

WAYS = {statements.name: statements for statements in (MINIMAL, OWN)}
"""By name, which is what a process can be told."""
