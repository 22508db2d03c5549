-- What runs, or was abandoned, under an owner that is not alive, locked. Level-triggered: whoever the owner was.
SELECT
    e.id, e.fire_time, e.job_id, e.namespace, e.job_name, e.version, e.attempt, e.state, e.reason, e.message,
    e.abandoned, e.started_at, e.finished_at, e.claimed_by, e.handler,
    (SELECT i.hostname FROM scheduler_instance AS i WHERE i.id = e.claimed_by) AS hostname
FROM job_execution_log AS e
WHERE (e.state = 'RUNNING' OR e.abandoned)
    AND NOT EXISTS (SELECT FROM scheduler_instance AS i WHERE i.id = e.claimed_by AND i.dead_at IS NULL)
ORDER BY e.id
LIMIT 1000
FOR UPDATE OF e SKIP LOCKED
