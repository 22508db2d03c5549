-- What running attempts note of themselves, until their result takes its place. A row that is being completed is passed over.
WITH running AS MATERIALIZED (
    SELECT e.id, e.fire_time, r.note
    FROM json_to_recordset(%(rows)s::json) AS r (id bigint, fire_time timestamptz(3), claim_no integer, note jsonb)
    JOIN job_execution_log AS e ON e.id = r.id AND e.fire_time = r.fire_time
    WHERE e.claim_no = r.claim_no AND CASE e.state WHEN 'RUNNING' THEN e.claimed_by = %(replica)s END  -- so: complete_executions
    ORDER BY e.id
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE job_execution_log AS e
SET result = running.note
FROM running
WHERE e.id = running.id AND e.fire_time = running.fire_time
RETURNING e.id
