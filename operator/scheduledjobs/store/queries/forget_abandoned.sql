-- A thread whose process is gone has ended: it is live no more.
WITH orphaned AS MATERIALIZED (
    SELECT e.id, e.fire_time
    FROM job_execution_log AS e
    WHERE e.abandoned
        AND NOT EXISTS (SELECT FROM scheduler_instance AS i WHERE i.id = e.claimed_by AND i.dead_at IS NULL)
    ORDER BY e.id
    LIMIT 1000
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE job_execution_log AS e
SET abandoned = false
FROM orphaned
WHERE e.id = orphaned.id AND e.fire_time = orphaned.fire_time
RETURNING e.job_id
