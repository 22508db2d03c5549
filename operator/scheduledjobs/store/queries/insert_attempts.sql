-- Keep attempts that another one follows; the last one is in the log. An answer that was lost is sent again. One that was
-- lost with its replica ends now, and none ends later: see complete_executions.
INSERT INTO job_execution_attempt (
    fire_time, execution_id, attempt, state, error, traceback, started_at, finished_at, replica
)
SELECT
    r.fire_time, r.execution_id, r.attempt, r.state, r.error, r.traceback,
    r.started_at - greatest(r.finished_at - scheduler_now()::timestamptz(3), interval '0'),
    least(r.finished_at, scheduler_now()), r.replica
FROM json_to_recordset(%(rows)s::json) AS r (
    fire_time timestamptz(3), execution_id bigint, attempt integer, state text, error text, traceback text,
    started_at timestamptz(3), finished_at timestamptz(3), replica uuid
)
ON CONFLICT DO NOTHING
