-- The outcomes of a job by the hour, of its newest rows.
SELECT
    date_trunc('hour', r.fire_time, 'UTC') AS start,
    count(*) FILTER (WHERE r.state = 'SUCCEEDED') AS succeeded,
    count(*) FILTER (WHERE r.state IN ('FAILED', 'TIMED_OUT', 'LOST', 'CANCELLED')) AS failed,
    coalesce(sum(coalesce(r.moment_count, 1)) FILTER (WHERE r.state IN ('SKIPPED', 'MISSED')), 0)::bigint AS not_run
FROM (
    SELECT e.fire_time, e.state, e.moment_count
    FROM job_execution_log AS e
    WHERE e.job_id = %(job_id)s AND e.fire_time >= %(since)s
    ORDER BY e.fire_time DESC
    LIMIT %(most)s
) AS r
GROUP BY 1
ORDER BY 1
