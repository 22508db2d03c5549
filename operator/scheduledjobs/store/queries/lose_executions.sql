-- What runs under an owner that is not alive is lost. Level-triggered: whoever the owner was and however it went.
WITH orphaned AS MATERIALIZED (
    SELECT e.id, e.fire_time
    FROM job_execution_log AS e
    WHERE e.state = 'RUNNING'
        AND NOT EXISTS (SELECT FROM scheduler_instance AS i WHERE i.id = e.claimed_by AND i.dead_at IS NULL)
    ORDER BY e.id
    LIMIT 1000
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE job_execution_log AS e
SET state = 'LOST',
    reason = 'ReplicaDied',
    message = coalesce('replica ' || i.hostname || ' died while it ran', 'its replica died while it ran'),
    finished_at = scheduler_now(),
    duration_ms = extract(epoch FROM scheduler_now() - e.started_at) * 1000
FROM orphaned
JOIN job_execution_log AS o ON o.id = orphaned.id AND o.fire_time = orphaned.fire_time
LEFT JOIN scheduler_instance AS i ON i.id = o.claimed_by
WHERE e.id = orphaned.id AND e.fire_time = orphaned.fire_time
RETURNING e.id, e.job_id, e.fire_time, e.namespace, e.job_name
