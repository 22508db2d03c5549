-- End runs that wait, for a newer one of their job. Of a job that replaces: CANCELLED, or SKIPPED if it was only held;
-- else one that waits for backoff: FAILED. SKIP LOCKED: one that is being claimed is left, and
-- counts as live; so is one that was handed over, whose work goes on.
WITH waiting AS MATERIALIZED (
    SELECT id, fire_time
    FROM job_execution_log
    WHERE id = ANY(%(ids)s) AND state = 'PENDING' AND reason IS DISTINCT FROM 'HandedOver'
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
UPDATE job_execution_log AS e
SET state = CASE
        WHEN e.job_id <> ALL(%(replacing)s::uuid[]) THEN 'FAILED'
        WHEN e.visible_at = 'infinity' THEN 'SKIPPED'
        ELSE 'CANCELLED'
    END,
    reason = CASE WHEN e.job_id <> ALL(%(replacing)s::uuid[]) THEN 'SupersededByNextFire' ELSE 'Replaced' END,
    message = CASE
        WHEN e.job_id <> ALL(%(replacing)s::uuid[])
            THEN left('the next run came while this one waited to be retried; its last error: ' || coalesce(e.message, '?'), 512)
        ELSE 'a newer run took its place before it began'
    END,
    finished_at = scheduler_now()
FROM waiting
WHERE e.id = waiting.id AND e.fire_time = waiting.fire_time
RETURNING e.id, e.job_id, e.fire_time, e.state, e.reason, e.message
