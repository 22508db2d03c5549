-- Ask the replicas that run these to stop them, since a newer run of the job takes their place: whoever goes on with one
-- that was handed over ends it, and one of which only the code goes on is not tried again. One that is locked is being
-- completed or claimed; the release step asks again each second.
WITH running AS MATERIALIZED (
    SELECT id, fire_time
    FROM job_execution_log
    WHERE id = ANY(%(ids)s) AND (state = 'RUNNING' OR abandoned OR state = 'PENDING' AND reason = 'HandedOver')
        AND cancel_reason IS NULL
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
UPDATE job_execution_log AS e
SET cancel_reason = 'Replaced', cancel_requested_at = scheduler_now(), cancel_requested_by = 'concurrencyPolicy'
FROM running
WHERE e.id = running.id AND e.fire_time = running.fire_time
RETURNING e.id
