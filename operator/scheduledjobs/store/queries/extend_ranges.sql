-- Extend the range row that ends where a job's decided moments ended, if it has the same reason and day.
UPDATE job_execution_log AS e
SET last_fire_time = r.last_fire_time, moment_count = e.moment_count + r.moment_count, finished_at = scheduler_now()
FROM json_to_recordset(%(rows)s::json) AS r (
    job_id uuid, fire_time timestamptz(3), last_fire_time timestamptz(3), moment_count bigint, state text, reason text,
    version bigint, previous timestamptz(3)
)
WHERE e.job_id = r.job_id AND e.run_key = '' AND e.last_fire_time = r.previous
    AND e.state = r.state AND e.reason = r.reason AND e.version = r.version
    AND e.fire_time >= date_trunc('day', r.fire_time, 'UTC') AND e.fire_time < r.fire_time
RETURNING e.job_id, r.fire_time
