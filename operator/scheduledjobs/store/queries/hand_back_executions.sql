-- Give back claims that were never started; they do not count as attempts. One that was handed over before stays so.
-- How late an execution was is how late its first attempt was: of a retry that is known.
UPDATE job_execution_log AS e
SET state = 'PENDING', attempt = e.attempt - 1, claimed_by = NULL, claimed_at = NULL,
    started_at = CASE WHEN e.reason = 'HandedOver' THEN e.started_at END,
    lateness_ms = CASE WHEN e.reason = 'HandedOver' OR e.attempt > 1 THEN e.lateness_ms END
FROM json_to_recordset(%(rows)s::json) AS r (id bigint, fire_time timestamptz(3), claim_no integer)
WHERE e.id = r.id AND e.fire_time = r.fire_time AND e.claim_no = r.claim_no
    AND CASE e.state WHEN 'RUNNING' THEN e.claimed_by = %(replica)s END  -- so: complete_executions
RETURNING e.id
