-- Jobs that have succeeded since they failed.
UPDATE notice_failing AS f
SET recovered_at = r.finished_at, fire_time = r.fire_time
FROM json_to_recordset(%(rows)s::json) AS r (job_id uuid, fire_time timestamptz(3), finished_at timestamptz(3))
WHERE f.job_id = r.job_id AND f.fire_time < r.fire_time AND f.recovered_at IS NULL
