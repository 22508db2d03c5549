-- The last day of jobs, in so many stretches a job: of each stretch the execution that stands out, a failure before a
-- miss before what runs before the rest; of the newest `most` rows of each job.
SELECT DISTINCT ON (l.job_id, l.stretch) l.job_id, l.id, l.fire_time, l.state, l.duration_ms, l.is_cut
FROM (
    SELECT
        j.job_id, r.id, r.fire_time, r.state, r.duration_ms,
        floor(extract(epoch FROM r.fire_time - %(since)s) / %(seconds)s) AS stretch,
        count(*) OVER (PARTITION BY j.job_id) >= %(most)s AS is_cut
    FROM unnest(%(ids)s::uuid[]) AS j (job_id)
    CROSS JOIN LATERAL (
        SELECT e.id, e.fire_time, e.state, e.duration_ms
        FROM job_execution_log AS e
        WHERE e.job_id = j.job_id AND e.fire_time >= %(since)s
        ORDER BY e.fire_time DESC
        LIMIT %(most)s
    ) AS r
) AS l
ORDER BY
    l.job_id, l.stretch,
    array_position(ARRAY['FAILED', 'TIMED_OUT', 'LOST', 'MISSED', 'RUNNING', 'PENDING', 'CANCELLED', 'SKIPPED'], l.state),
    l.fire_time DESC
