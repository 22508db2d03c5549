-- What find_orphans has locked, and whose work survives its replica, goes on under another one: as hand_over_executions.
UPDATE job_execution_log AS e
SET state = 'PENDING', reason = 'HandedOver', attempt = e.attempt - 1, claimed_by = NULL, claimed_at = NULL,
    message = 'its replica has gone and its work goes on, for the next replica to watch',
    start_before = scheduler_now() + interval '8 days'
FROM json_to_recordset(%(rows)s::json) AS r (id bigint, fire_time timestamptz(3))
WHERE e.id = r.id AND e.fire_time = r.fire_time AND e.state = 'RUNNING'
RETURNING e.id, e.job_id, e.fire_time, e.namespace, e.job_name, e.state
