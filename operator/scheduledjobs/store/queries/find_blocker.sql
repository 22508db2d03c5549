-- The run that stood in the way.
SELECT id, fire_time, state, reason, run_key, started_at, finished_at FROM job_execution_log WHERE id = %(id)s
