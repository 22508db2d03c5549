-- What running attempts have logged so far. Their rows are held, so that the last word, which comes with the completion,
-- is not overwritten by an older one; a row that is being completed is passed over.
WITH running AS MATERIALIZED (
    SELECT r.*
    FROM json_to_recordset(%(rows)s::json) AS r (
        fire_time timestamptz(3), execution_id bigint, attempt integer, claim_no integer, output text, truncated boolean
    )
    JOIN job_execution_log AS e ON e.id = r.execution_id AND e.fire_time = r.fire_time
    WHERE e.claim_no = r.claim_no AND CASE e.state WHEN 'RUNNING' THEN e.claimed_by = %(replica)s END  -- so: complete_executions
    FOR SHARE OF e SKIP LOCKED
)
INSERT INTO job_execution_output (fire_time, execution_id, attempt, output, truncated)
SELECT fire_time, execution_id, attempt, output, truncated FROM running
ON CONFLICT (execution_id, attempt, fire_time) DO UPDATE SET output = excluded.output, truncated = excluded.truncated
RETURNING execution_id
