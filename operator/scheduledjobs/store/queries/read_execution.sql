-- One execution with all that its row holds, and the payload of the version that fired it.
SELECT
    e.id, e.job_id, e.namespace, e.job_name, e.version, e.fire_time, e.last_fire_time, e.moment_count, e.state, e.reason,
    e.message, e.trigger, e.handler, e.attempt, e.started_at, e.finished_at, e.duration_ms, e.lateness_ms, e.run_key,
    e.blocked_by, e.missed_count, e.cancel_requested_by, e.claimed_at, e.due_at, e.payload, e.result,
    e.state = 'PENDING' AND e.visible_at = 'infinity' AS is_held,
    CASE WHEN e.visible_at < 'infinity' THEN e.visible_at END AS visible_at,
    i.hostname AS replica, v.payload AS spec_payload, scheduler_now() AS now
FROM job_execution_log AS e
LEFT JOIN scheduler_instance AS i ON i.id = e.claimed_by
LEFT JOIN LATERAL (
    SELECT d.spec -> 'payload' AS payload
    FROM job_definition_version AS d
    WHERE d.job_id = e.job_id AND d.version = e.version
    ORDER BY d.seq DESC
    LIMIT 1
) AS v ON true
WHERE e.id = %(id)s
