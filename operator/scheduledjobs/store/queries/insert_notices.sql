-- What webhooks are told; what was noticed before stays as it is.
INSERT INTO notice (
    execution_id, kind, webhook, noticed_at, namespace, job_name, job_id, fire_time, occurred_at, state, reason, message,
    attempt, moment_count
)
SELECT
    r.execution_id, r.kind, r.webhook, scheduler_now(), r.namespace, r.job_name, r.job_id, r.fire_time, r.occurred_at,
    r.state, r.reason, r.message, r.attempt, r.moment_count
FROM json_to_recordset(%(rows)s::json) AS r (
    execution_id bigint, kind text, webhook text, namespace text, job_name text, job_id uuid, fire_time timestamptz(3),
    occurred_at timestamptz(3), state text, reason text, message text, attempt integer, moment_count bigint
)
ORDER BY r.execution_id, r.kind, r.webhook
ON CONFLICT DO NOTHING
RETURNING webhook
