-- Which of these claims have ended under their own claim number: a completion whose answer was lost, not a stale one.
SELECT e.id
FROM job_execution_log AS e
JOIN json_to_recordset(%(rows)s::json) AS r (id bigint, fire_time timestamptz(3), claim_no integer)
    ON e.id = r.id AND e.fire_time = r.fire_time AND e.claim_no = r.claim_no
-- CASE, or it might read the table whole: complete_executions.
WHERE CASE WHEN e.state = ANY('{SUCCEEDED,FAILED,TIMED_OUT,CANCELLED,LOST}') THEN e.claimed_by = %(replica)s END
