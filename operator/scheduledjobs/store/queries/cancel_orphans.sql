-- Cancel what waits to run for jobs that are gone: a retry or a claim handed back just as its job was deleted.
WITH waiting AS MATERIALIZED (
    SELECT e.id, e.fire_time
    FROM job_execution_log AS e
    JOIN job_definition AS j ON j.id = e.job_id
    WHERE e.state = 'PENDING' AND e.reason IS DISTINCT FROM 'HandedOver' AND j.state = 'DELETED'
    ORDER BY e.id
    LIMIT 1000
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE job_execution_log AS e
SET state = 'CANCELLED', reason = 'JobDeleted', message = 'the job was deleted before it ran',
    finished_at = scheduler_now()
FROM waiting
WHERE e.id = waiting.id AND e.fire_time = waiting.fire_time
RETURNING e.id
