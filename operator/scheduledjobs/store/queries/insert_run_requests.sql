-- A token is one run for the life of the job: one that is there already is not taken again.
INSERT INTO run_request (job_id, token, payload, requested_at, execution_id, fire_time)
SELECT r.job_id, r.token, r.payload, r.fire_time, r.execution_id, r.fire_time
FROM json_to_recordset(%(rows)s::json) AS r (
    job_id uuid, token text, payload jsonb, execution_id bigint, fire_time timestamptz(3)
)
ON CONFLICT (job_id, token) DO NOTHING
RETURNING job_id
