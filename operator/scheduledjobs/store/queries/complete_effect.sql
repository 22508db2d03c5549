-- End an attempt together with its effect: the guard, and the last statement of the transaction.
UPDATE job_execution_log AS e
SET state = 'SUCCEEDED', reason = 'Success', message = NULL, result = %(result)s::jsonb, finished_at = scheduler_now(),
    duration_ms = extract(epoch FROM scheduler_now() - e.started_at) * 1000
WHERE e.id = %(id)s AND e.fire_time = %(fire_time)s AND e.claim_no = %(claim_no)s AND e.cancel_reason IS NULL
    AND CASE e.state WHEN 'RUNNING' THEN e.claimed_by = %(replica)s END  -- so: complete_executions
