-- The attempts of an execution that another one followed.
SELECT a.attempt, a.state, a.error, a.traceback, a.started_at, a.finished_at, i.hostname AS replica
FROM job_execution_attempt AS a
LEFT JOIN scheduler_instance AS i ON i.id = a.replica
WHERE a.execution_id = %(id)s AND a.fire_time = %(fire_time)s
ORDER BY a.attempt
