-- The scheduled rows of a job that stand for moments of a range, oldest first. A range row begins on the day of its
-- last moment.
SELECT id, fire_time, last_fire_time, moment_count, state, reason, finished_at, version
FROM job_execution_log
WHERE job_id = %(job_id)s AND run_key = ''
    AND fire_time >= date_trunc('day', %(since)s::timestamptz, 'UTC')
    AND coalesce(last_fire_time, fire_time) >= %(since)s AND fire_time < %(until)s
ORDER BY fire_time, id
