-- How the newest scheduled run of each job ended; finished_at is NULL while it is live. A statement after the lock.
SELECT j.id AS job_id, last.finished_at
FROM unnest(%(ids)s::uuid[]) AS j (id)
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.state IN ('PENDING', 'RUNNING') OR e.abandoned THEN NULL ELSE e.finished_at END AS finished_at
    FROM job_execution_log AS e
    WHERE e.job_id = j.id AND e.run_key = ''
    ORDER BY e.fire_time DESC
    LIMIT 1
) AS last
