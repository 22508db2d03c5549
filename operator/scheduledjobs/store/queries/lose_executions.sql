-- End what find_orphans has locked: running ones as LOST, abandoned ones as they had ended, but now; or wait for a retry.
WITH lost AS MATERIALIZED (
    SELECT
        r.*,
        r.retry_seconds IS NOT NULL AND NOT EXISTS (
            SELECT FROM job_definition AS j WHERE j.id = r.job_id AND j.state = 'DELETED'
        ) AS may_retry
    FROM json_to_recordset(%(rows)s::json) AS r (
        id bigint, fire_time timestamptz(3), job_id uuid, state text, reason text, message text,
        retry_seconds double precision
    )
)
UPDATE job_execution_log AS e
SET state = CASE WHEN r.may_retry AND e.cancel_reason IS NULL THEN 'PENDING' ELSE r.state END,
    reason = CASE WHEN r.may_retry AND e.cancel_reason IS NULL THEN 'Retrying' ELSE r.reason END,
    message = r.message,
    visible_at = CASE WHEN r.may_retry AND e.cancel_reason IS NULL
        THEN scheduler_now() + make_interval(secs => r.retry_seconds) ELSE e.visible_at END,
    start_before = CASE WHEN r.may_retry AND e.cancel_reason IS NULL THEN NULL ELSE e.start_before END,
    claimed_by = CASE WHEN r.may_retry AND e.cancel_reason IS NULL THEN NULL ELSE e.claimed_by END,
    finished_at = CASE WHEN r.may_retry AND e.cancel_reason IS NULL
        THEN NULL ELSE scheduler_now() END,
    -- While it runs, or its work goes on, the row has what an earlier attempt took.
    duration_ms = CASE WHEN e.state = 'RUNNING' OR e.reason = 'HandedOver'
        THEN extract(epoch FROM scheduler_now() - e.started_at) * 1000 ELSE e.duration_ms END,
    abandoned = false
FROM lost AS r
WHERE e.id = r.id AND e.fire_time = r.fire_time
RETURNING e.id, e.job_id, e.fire_time, e.namespace, e.job_name, e.state
