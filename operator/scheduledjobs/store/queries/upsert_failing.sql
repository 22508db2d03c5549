-- Jobs that failed, by the newest fire time that did. One read again of a job that has recovered since changes nothing.
INSERT INTO notice_failing AS f (job_id, fire_time)
SELECT r.job_id, r.fire_time
FROM json_to_recordset(%(rows)s::json) AS r (job_id uuid, fire_time timestamptz(3))
ORDER BY r.job_id
ON CONFLICT (job_id) DO UPDATE SET fire_time = excluded.fire_time, recovered_at = NULL
WHERE excluded.fire_time > f.fire_time
