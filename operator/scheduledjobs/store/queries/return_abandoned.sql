-- The code of an ended attempt has returned: it no longer counts as live, and its retry need not wait for it any more. It
-- is closed only now, or a fixedDelay would be late by as long as it waited for that code.
UPDATE job_execution_log AS e
SET abandoned = false,
    state = CASE WHEN again.may AND e.cancel_reason IS NULL THEN 'PENDING' ELSE e.state END,
    reason = CASE WHEN again.may AND e.cancel_reason IS NULL THEN 'Retrying' ELSE e.reason END,
    visible_at = CASE WHEN again.may AND e.cancel_reason IS NULL THEN scheduler_now() + make_interval(secs => r.retry_seconds) ELSE e.visible_at END,
    start_before = CASE WHEN again.may AND e.cancel_reason IS NULL THEN NULL ELSE e.start_before END,
    claimed_by = CASE WHEN again.may AND e.cancel_reason IS NULL THEN NULL ELSE e.claimed_by END,
    finished_at = CASE WHEN again.may AND e.cancel_reason IS NULL THEN NULL ELSE scheduler_now() END
FROM json_to_recordset(%(rows)s::json) AS r (
    id bigint, fire_time timestamptz(3), claim_no integer, job_id uuid, retry_seconds double precision
)
CROSS JOIN LATERAL (
    SELECT r.retry_seconds IS NOT NULL AND NOT EXISTS (
        SELECT FROM job_definition AS j WHERE j.id = r.job_id AND j.state = 'DELETED'
    )
) AS again (may)
WHERE e.id = r.id AND e.fire_time = r.fire_time AND e.claim_no = r.claim_no
    AND CASE WHEN e.abandoned THEN e.claimed_by = %(replica)s END  -- so: complete_executions
RETURNING e.id, e.state
