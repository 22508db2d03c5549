-- What ended since the last look that may be told to a webhook, oldest first: failures, misses, and successes of jobs
-- whose failure was noticed. BRIN on finished_at: reads what was written since the last VACUUM, not the day, and a further
-- page of rows no page before it again.
SELECT
    e.id, e.fire_time, e.job_id, e.namespace, e.job_name, e.state, e.reason, e.message, e.attempt, e.moment_count,
    e.finished_at, e.abandoned, e.cancel_reason,
    (SELECT j.annotations FROM job_definition AS j WHERE j.id = e.job_id) AS annotations,
    (SELECT f.fire_time FROM notice_failing AS f WHERE f.job_id = e.job_id AND f.recovered_at IS NULL) AS failing,
    CASE WHEN e.abandoned THEN (
        SELECT v.spec -> 'retry'
        FROM job_definition_version AS v
        WHERE v.job_id = e.job_id AND v.version = e.version
        LIMIT 1
    ) END AS retry
FROM job_execution_log AS e
WHERE e.finished_at >= greatest(%(since)s::timestamptz, %(after_at)s::timestamptz)
    AND (e.finished_at, e.id) > (%(after_at)s, %(after_id)s)
    AND (
        e.state IN ('FAILED', 'TIMED_OUT', 'LOST', 'MISSED')
        OR (e.state = 'SUCCEEDED' AND e.job_id IN (SELECT f.job_id FROM notice_failing AS f WHERE f.recovered_at IS NULL))
    )
ORDER BY e.finished_at, e.id
LIMIT %(most)s
