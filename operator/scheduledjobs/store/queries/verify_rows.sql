-- The scheduled rows of a job that stand for moments of a range, oldest first. A range row never
-- spans more than a day.
SELECT id, fire_time, last_fire_time, moment_count, state, reason, finished_at, abandoned, version
FROM job_execution_log
WHERE job_id = %(job_id)s AND run_key = ''
    AND fire_time >= %(since)s::timestamptz - make_interval(days => 1)
    AND coalesce(last_fire_time, fire_time) >= %(since)s AND fire_time < %(until)s
ORDER BY fire_time, id
