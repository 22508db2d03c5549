-- When the scheduled run of each job ended that its next moment follows: that of its newest row, or of one that went on
-- through the change since which no row was written; finished_at is NULL while one is live. A statement after the lock.
SELECT
    j.id AS job_id,
    CASE WHEN NOT last.is_live THEN greatest(
        last.finished_at,
        CASE WHEN last.fire_time < j.effective_from THEN (
            SELECT max(e.finished_at)
            FROM job_execution_log AS e
            WHERE e.job_id = j.id AND e.run_key = '' AND e.finished_at > j.effective_from
        ) END
    ) END AS finished_at
FROM job_definition AS j
CROSS JOIN LATERAL (
    SELECT e.fire_time, e.finished_at, e.state IN ('PENDING', 'RUNNING') OR e.abandoned AS is_live
    FROM job_execution_log AS e
    WHERE e.job_id = j.id AND e.run_key = ''
    ORDER BY e.fire_time DESC
    LIMIT 1
) AS last
WHERE j.id = ANY(%(ids)s)
