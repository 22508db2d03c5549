-- Close what waited past its startingDeadline, whether or not a slot was ever free; and what no replica went on with.
WITH late AS MATERIALIZED (
    SELECT id, fire_time
    FROM job_execution_log
    WHERE state = 'PENDING' AND start_before <= scheduler_now()
    ORDER BY id
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
UPDATE job_execution_log AS e
SET state = CASE WHEN e.reason = 'HandedOver' THEN 'LOST' ELSE 'MISSED' END,
    reason = CASE WHEN e.reason = 'HandedOver' THEN 'ReplicaDied' ELSE 'StartingDeadlineExceeded' END,
    message = CASE WHEN e.reason = 'HandedOver' THEN 'no replica went on with it' WHEN e.visible_at = 'infinity'
        THEN 'another run of the job had not ended before startingDeadline' ELSE 'no slot was free before startingDeadline' END,
    finished_at = scheduler_now(),
    duration_ms = CASE WHEN e.reason = 'HandedOver'
        THEN extract(epoch FROM scheduler_now() - e.started_at) * 1000 ELSE e.duration_ms END
FROM late
WHERE e.id = late.id AND e.fire_time = late.fire_time
RETURNING e.id, e.job_id, e.fire_time, e.handler, e.state, e.reason, e.message
