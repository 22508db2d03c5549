-- Executions of one job, newest fire time first, from a position on.
SELECT
    e.id, e.job_id, e.namespace, e.job_name, e.version, e.fire_time, e.last_fire_time, e.moment_count, e.state, e.reason,
    e.message, e.trigger, e.handler, e.attempt, e.started_at, e.finished_at, e.duration_ms, e.lateness_ms, e.run_key,
    e.blocked_by, e.missed_count, e.cancel_requested_by, e.claimed_at,
    e.state = 'PENDING' AND e.visible_at = 'infinity' AS is_held,
    CASE WHEN e.visible_at < 'infinity' THEN e.visible_at END AS visible_at,
    i.hostname AS replica, scheduler_now() AS now
FROM job_execution_log AS e
LEFT JOIN scheduler_instance AS i ON i.id = e.claimed_by
WHERE e.job_id = %(job_id)s
    AND e.fire_time >= %(since)s AND e.fire_time < %(until)s
    AND (%(states)s::text[] IS NULL OR e.state = ANY(%(states)s))
    AND (%(triggers)s::text[] IS NULL OR e.trigger = ANY(%(triggers)s))
    AND (e.fire_time, e.id) < (%(fire_time_before)s::timestamptz, %(id_before)s::bigint)
ORDER BY e.fire_time DESC, e.id DESC
LIMIT %(most)s
