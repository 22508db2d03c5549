-- Insert decided moments and run requests. Rows that nobody will run end as they begin.
INSERT INTO job_execution_log (
    id, fire_time, namespace, job_name, state, reason, trigger, message, handler, finished_at, last_fire_time,
    moment_count, payload, job_id, version, run_key, visible_at, due_at, start_before, blocked_by,
    missed_count, first_missed_at
)
SELECT
    coalesce(r.id, nextval('execution_id')), r.fire_time, r.namespace, r.job_name, r.state, r.reason, r.trigger,
    r.message, r.handler, CASE WHEN r.state <> 'PENDING' THEN scheduler_now() END, r.last_fire_time,
    r.moment_count, r.payload, r.job_id, r.version, coalesce(r.run_key, ''),
    CASE WHEN r.state = 'PENDING' THEN coalesce(r.visible_at, r.fire_time) END, r.due_at, r.start_before,
    r.blocked_by, r.missed_count, r.first_missed_at
FROM json_to_recordset(%(rows)s::json) AS r (
    id bigint, fire_time timestamptz(3), namespace text, job_name text, state text, reason text, trigger text,
    message text, handler text, last_fire_time timestamptz(3), moment_count bigint, payload jsonb, job_id uuid,
    version bigint, run_key text, visible_at timestamptz(3), due_at timestamptz(3), start_before timestamptz(3), blocked_by bigint, missed_count bigint,
    first_missed_at timestamptz(3)
)
