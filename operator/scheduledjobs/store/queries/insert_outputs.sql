-- Keep what attempts logged, all of it: of one that ran long the beginning is there already.
INSERT INTO job_execution_output (fire_time, execution_id, attempt, output, truncated)
SELECT r.fire_time, r.execution_id, r.attempt, r.output, r.truncated
FROM json_to_recordset(%(rows)s::json) AS r (
    fire_time timestamptz(3), execution_id bigint, attempt integer, output text, truncated boolean
)
ON CONFLICT (execution_id, attempt, fire_time) DO UPDATE SET output = excluded.output, truncated = excluded.truncated
