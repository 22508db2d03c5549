-- The scheduled rows of a job from before a range that moments of a fixedDelay in it may follow from: the newest, and
-- those that ended in it or have not.
(
    SELECT id, fire_time, last_fire_time, moment_count, state, reason, finished_at, abandoned, version
    FROM job_execution_log
    WHERE job_id = %(job_id)s AND run_key = '' AND fire_time < %(since)s
    ORDER BY fire_time DESC
    LIMIT 1
)
UNION
SELECT id, fire_time, last_fire_time, moment_count, state, reason, finished_at, abandoned, version
FROM job_execution_log
WHERE job_id = %(job_id)s AND run_key = '' AND fire_time < %(since)s
    AND (state IN ('PENDING', 'RUNNING') OR abandoned OR finished_at >= %(since)s)
ORDER BY fire_time, id
