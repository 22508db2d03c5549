-- What the attempts of an execution wrote to their logs.
SELECT attempt, output, truncated
FROM job_execution_output
WHERE execution_id = %(id)s AND fire_time = %(fire_time)s
ORDER BY attempt
