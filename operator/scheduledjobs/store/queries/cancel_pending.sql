-- What waits to run for jobs that are gone. One that is just being claimed is left to run, as is one that was handed over.
WITH waiting AS MATERIALIZED (
    SELECT id, fire_time
    FROM job_execution_log
    WHERE job_id = ANY(%(job_ids)s) AND state = 'PENDING' AND reason IS DISTINCT FROM 'HandedOver'
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
UPDATE job_execution_log AS e
SET state = 'CANCELLED', reason = 'JobDeleted', message = 'the job was deleted before it ran',
    finished_at = scheduler_now()
FROM waiting
WHERE e.id = waiting.id AND e.fire_time = waiting.fire_time
RETURNING e.id
