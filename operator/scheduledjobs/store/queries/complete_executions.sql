-- Write how attempts ended. The claim guards it: a row that was taken from this replica is left as it is.
UPDATE job_execution_log AS e
SET state = r.state,
    reason = r.reason,
    message = r.message,
    result = r.result,
    started_at = r.started_at,
    finished_at = r.finished_at,
    duration_ms = r.duration_ms,
    lateness_ms = CASE WHEN e.run_key = '' AND e.attempt = 1
        THEN extract(epoch FROM r.started_at - e.fire_time) * 1000 ELSE e.lateness_ms END,
    abandoned = r.abandoned
FROM json_to_recordset(%(rows)s::json) AS r (
    id bigint, fire_time timestamptz(3), claim_no integer, state text, reason text, message text, result jsonb,
    started_at timestamptz(3), finished_at timestamptz(3), duration_ms bigint, abandoned boolean
)
WHERE e.id = r.id AND e.fire_time = r.fire_time AND e.claim_no = r.claim_no
    AND e.claimed_by = %(replica)s AND e.state = 'RUNNING'
RETURNING e.id
