-- The rows that stand for a moment of a job: its own, a range it lies in, and run-nows of that instant.
SELECT
    e.id, e.fire_time, e.last_fire_time, e.moment_count, e.state, e.reason, e.message, e.trigger, e.attempt, e.version,
    e.run_key, e.lateness_ms, e.duration_ms, e.started_at, e.finished_at, e.claimed_at, e.due_at, e.start_before,
    e.blocked_by, e.missed_count, e.first_missed_at, e.cancel_requested_by, e.abandoned,
    e.visible_at = 'infinity' AS is_held,
    CASE WHEN e.visible_at < 'infinity' THEN e.visible_at END AS visible_at,
    i.hostname AS replica
FROM job_execution_log AS e
LEFT JOIN scheduler_instance AS i ON i.id = e.claimed_by
WHERE e.job_id = %(job_id)s AND e.fire_time >= %(at)s::timestamptz - make_interval(days => 1) AND e.fire_time <= %(at)s
    AND (e.fire_time = %(at)s OR e.last_fire_time >= %(at)s)
ORDER BY e.run_key, e.fire_time, e.id
