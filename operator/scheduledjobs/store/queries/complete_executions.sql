-- Write how attempts ended. The claim guards it: a row that was taken from this replica is left as it is. One with a
-- wait for another attempt goes back to PENDING, unless its job is gone or it was asked to stop; one that failed since
-- it was asked to stop is cancelled.
-- A replica counts from its claim as if that had arrived the moment it was sent, so that nothing is told to begin early;
-- what the claim took is too much at either end. An attempt that is told here ended before: what is later than now is
-- taken off, down to the claim, or the next run of the job, which may begin at once, would begin before this one ends.
WITH ended AS MATERIALIZED (
    SELECT
        r.*,
        greatest(r.finished_at - scheduler_now()::timestamptz(3), interval '0') AS ahead,
        r.retry_seconds IS NOT NULL AND NOT r.abandoned AND NOT EXISTS (
            SELECT FROM job_definition AS j WHERE j.id = r.job_id AND j.state = 'DELETED'
        ) AS may_retry
    FROM json_to_recordset(%(rows)s::json) AS r (
        id bigint, fire_time timestamptz(3), claim_no integer, job_id uuid, state text, reason text, message text,
        result jsonb, started_at timestamptz(3), finished_at timestamptz(3), duration_ms bigint, abandoned boolean,
        retry_seconds double precision
    )
)
UPDATE job_execution_log AS e
SET state = CASE WHEN r.may_retry AND e.cancel_reason IS NULL THEN 'PENDING'
        WHEN r.state = 'FAILED' AND e.cancel_reason IS NOT NULL THEN 'CANCELLED' ELSE r.state END,
    reason = CASE WHEN r.may_retry AND e.cancel_reason IS NULL THEN 'Retrying'
        WHEN r.state = 'FAILED' AND e.cancel_reason IS NOT NULL THEN e.cancel_reason ELSE r.reason END,
    visible_at = CASE WHEN r.may_retry AND e.cancel_reason IS NULL
        THEN scheduler_now() + make_interval(secs => r.retry_seconds) ELSE e.visible_at END,
    start_before = CASE WHEN r.may_retry AND e.cancel_reason IS NULL THEN NULL ELSE e.start_before END,
    claimed_by = CASE WHEN r.may_retry AND e.cancel_reason IS NULL THEN NULL ELSE e.claimed_by END,
    finished_at = CASE WHEN r.may_retry AND e.cancel_reason IS NULL
        THEN NULL ELSE greatest(r.finished_at - r.ahead, e.claimed_at) END,
    message = r.message,
    result = r.result,
    started_at = greatest(r.started_at - r.ahead, least(r.started_at, e.claimed_at)),
    duration_ms = r.duration_ms,
    lateness_ms = CASE WHEN e.run_key = '' AND e.attempt = 1
        THEN extract(epoch FROM greatest(r.started_at - r.ahead, least(r.started_at, e.claimed_at))
            - coalesce(e.due_at, e.fire_time)) * 1000 ELSE e.lateness_ms END,
    abandoned = r.abandoned
FROM ended AS r
-- CASE, or it might be read by the index of what a replica owns: each row that it ran since the last VACUUM is there.
WHERE e.id = r.id AND e.fire_time = r.fire_time AND e.claim_no = r.claim_no
    AND CASE e.state WHEN 'RUNNING' THEN e.claimed_by = %(replica)s END
RETURNING e.id, e.state
