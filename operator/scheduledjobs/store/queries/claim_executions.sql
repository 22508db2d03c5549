-- Take up to so many executions that this replica can run: what was handed over, since its work goes on and nobody
-- watches it, then on-time before catch-ups, then by due time.
-- MATERIALIZED, or a LIMIT under SKIP LOCKED may be evaluated more than once.
WITH handed AS MATERIALIZED (
    SELECT id, fire_time
    FROM job_execution_log
    WHERE state = 'PENDING' AND reason = 'HandedOver' AND visible_at <= scheduler_now()
        AND (start_before IS NULL OR start_before > scheduler_now()) AND handler = ANY(%(handlers)s)
    ORDER BY visible_at
    LIMIT %(slots)s
    FOR UPDATE SKIP LOCKED
), picked AS MATERIALIZED (
    SELECT id, fire_time
    FROM job_execution_log
    WHERE state = 'PENDING'
        AND reason IS DISTINCT FROM 'HandedOver'
        AND visible_at <= scheduler_now()
        AND (start_before IS NULL OR start_before > scheduler_now())
        AND handler = ANY(%(handlers)s)
    ORDER BY (trigger = 'CATCH_UP'), visible_at, id
    LIMIT %(slots)s::bigint - (SELECT count(*) FROM handed)
    FOR UPDATE SKIP LOCKED
), free AS MATERIALIZED (
    SELECT id, fire_time FROM handed
    UNION ALL
    SELECT id, fire_time FROM picked
)
UPDATE job_execution_log AS e
SET state = 'RUNNING',
    reason = CASE WHEN e.reason = 'HandedOver' THEN e.reason END,
    -- Of an attempt that goes on: its note. Else it is an earlier attempt's, and no note of this one.
    result = CASE WHEN e.reason = 'HandedOver' THEN e.result END,
    message = CASE WHEN e.reason IS DISTINCT FROM 'HandedOver' THEN e.message END,
    claim_no = e.claim_no + 1,
    attempt = e.attempt + 1,
    claimed_by = %(replica)s,
    claimed_at = scheduler_now(),
    started_at = CASE WHEN e.reason = 'HandedOver' THEN e.started_at ELSE scheduler_now() END,
    lateness_ms = CASE WHEN e.run_key = '' AND e.attempt = 0 AND e.reason IS DISTINCT FROM 'HandedOver'
        THEN extract(epoch FROM scheduler_now() - coalesce(e.due_at, e.fire_time)) * 1000 ELSE e.lateness_ms END
-- As arrays, since the planner takes these for short: of the CTE it thinks that it is long, and reads the whole log.
FROM unnest(ARRAY(SELECT id FROM free), ARRAY(SELECT fire_time FROM free)) AS p (id, fire_time)
WHERE e.id = p.id AND e.fire_time = p.fire_time
RETURNING
    e.id, e.fire_time, e.namespace, e.job_name, e.job_id, e.version, e.run_key, e.attempt, e.trigger, e.claim_no,
    e.handler, e.payload, e.missed_count, e.first_missed_at, e.claimed_at,
    coalesce(e.due_at, e.fire_time) AS due_at, e.reason, e.started_at, e.result, e.cancel_reason, e.cancel_requested_by
