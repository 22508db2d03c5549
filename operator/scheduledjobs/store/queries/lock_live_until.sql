-- What waits or runs, or was abandoned, of moments up to an instant, locked in id order.
SELECT id, fire_time, job_id, namespace, job_name, state, reason, message, abandoned
FROM job_execution_log
WHERE (state IN ('PENDING', 'RUNNING') OR abandoned) AND fire_time <= %(until)s
ORDER BY id
LIMIT %(most)s
FOR UPDATE
