-- Insert decided moments and run requests. Rows that nobody will run end as they begin. Those with `claimed_by` are
-- claimed by that replica, as claim_executions would have done, and returned as it does.
WITH inserted AS (
    INSERT INTO job_execution_log AS e (
        id, fire_time, namespace, job_name, state, reason, trigger, message, handler, claimed_by, claim_no, attempt,
        claimed_at, started_at, lateness_ms, finished_at, last_fire_time, moment_count, payload, job_id, version, run_key,
        visible_at, due_at, start_before, blocked_by, missed_count, first_missed_at
    )
    SELECT
        coalesce(r.id, nextval('execution_id')), r.fire_time, r.namespace, r.job_name,
        CASE WHEN r.claimed_by IS NULL THEN r.state ELSE 'RUNNING' END,
        CASE WHEN r.claimed_by IS NULL THEN r.reason END, r.trigger, r.message, r.handler, r.claimed_by,
        CASE WHEN r.claimed_by IS NULL THEN 0 ELSE 1 END, CASE WHEN r.claimed_by IS NULL THEN 0 ELSE 1 END,
        CASE WHEN r.claimed_by IS NOT NULL THEN scheduler_now() END,
        CASE WHEN r.claimed_by IS NOT NULL THEN scheduler_now() END,
        CASE WHEN r.claimed_by IS NOT NULL
            THEN extract(epoch FROM scheduler_now() - coalesce(r.due_at, r.fire_time)) * 1000 END,
        CASE WHEN r.state <> 'PENDING' THEN scheduler_now() END, r.last_fire_time,
        r.moment_count, r.payload, r.job_id, r.version, coalesce(r.run_key, ''),
        CASE WHEN r.state = 'PENDING' THEN coalesce(r.visible_at, r.fire_time) END, r.due_at, r.start_before,
        r.blocked_by, r.missed_count, r.first_missed_at
    FROM json_to_recordset(%(rows)s::json) AS r (
        id bigint, fire_time timestamptz(3), namespace text, job_name text, state text, reason text, trigger text,
        message text, handler text, last_fire_time timestamptz(3), moment_count bigint, payload jsonb, job_id uuid,
        version bigint, run_key text, visible_at timestamptz(3), due_at timestamptz(3), start_before timestamptz(3),
        blocked_by bigint, missed_count bigint, first_missed_at timestamptz(3), claimed_by uuid
    )
    RETURNING e.*
)
SELECT
    e.id, e.fire_time, e.namespace, e.job_name, e.job_id, e.version, e.run_key, e.attempt, e.trigger, e.claim_no,
    e.handler, e.payload, e.missed_count, e.first_missed_at, e.claimed_at, coalesce(e.due_at, e.fire_time) AS due_at,
    e.reason, e.started_at, e.result, e.cancel_reason, e.cancel_requested_by
FROM inserted AS e
WHERE e.claimed_by IS NOT NULL
