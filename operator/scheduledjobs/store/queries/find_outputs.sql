-- What attempts have logged so far that were handed over: whoever goes on with them logs after that.
SELECT o.execution_id, o.output, o.truncated
FROM json_to_recordset(%(rows)s::json) AS r (id bigint, fire_time timestamptz(3), attempt integer)
JOIN job_execution_output AS o ON o.execution_id = r.id AND o.attempt = r.attempt AND o.fire_time = r.fire_time
