-- Which of these executions somebody else has locked against an UPDATE; nobody is waited for.
WITH asked AS MATERIALIZED (
    SELECT r.id, r.fire_time FROM json_to_recordset(%(rows)s::json) AS r (id bigint, fire_time timestamptz(3))
), free AS MATERIALIZED (
    SELECT e.id
    FROM job_execution_log AS e
    JOIN asked AS a ON e.id = a.id AND e.fire_time = a.fire_time
    FOR NO KEY UPDATE OF e SKIP LOCKED
)
SELECT e.id
FROM job_execution_log AS e
JOIN asked AS a ON e.id = a.id AND e.fire_time = a.fire_time
WHERE NOT EXISTS (SELECT FROM free AS f WHERE f.id = e.id)
