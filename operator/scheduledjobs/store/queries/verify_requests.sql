-- Run requests that have no row: every recorded request ends in one.
SELECT r.job_id, r.token, r.requested_at
FROM run_request AS r
WHERE r.job_id = %(job_id)s AND r.requested_at >= %(since)s
    AND NOT EXISTS (
        SELECT FROM job_execution_log AS e
        WHERE e.job_id = r.job_id AND e.fire_time = r.fire_time AND e.run_key = r.token
    )
