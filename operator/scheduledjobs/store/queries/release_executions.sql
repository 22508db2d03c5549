-- Let the oldest held run of each of these jobs go, if still nothing else of the job is live. Run after the jobs' rows
-- are locked, in a later statement.
WITH oldest AS MATERIALIZED (
    SELECT first.id, first.fire_time
    FROM unnest(%(job_ids)s::uuid[]) AS j (id)
    CROSS JOIN LATERAL (
        SELECT e.id, e.fire_time
        FROM job_execution_log AS e
        WHERE e.job_id = j.id AND e.state = 'PENDING' AND e.visible_at = 'infinity'
        ORDER BY e.fire_time, e.id
        LIMIT 1
    ) AS first
    WHERE NOT EXISTS (
        SELECT FROM job_execution_log AS o
        WHERE o.job_id = j.id AND (o.state = 'RUNNING' OR o.abandoned OR (o.state = 'PENDING' AND o.visible_at < 'infinity'))
    )
), locked AS MATERIALIZED (
    SELECT e.id, e.fire_time
    FROM job_execution_log AS e
    JOIN oldest ON e.id = oldest.id AND e.fire_time = oldest.fire_time
    WHERE e.state = 'PENDING'
    ORDER BY e.id
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE job_execution_log AS e
SET visible_at = coalesce(e.due_at, e.fire_time), reason = NULL
FROM locked
WHERE e.id = locked.id AND e.fire_time = locked.fire_time
RETURNING e.id, e.job_id
