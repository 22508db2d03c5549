-- What the status of a job is made of. The newest 1,000 executions bound the count of failures; a job that has had
-- no success among them keeps the lastSuccessfulTime that its status has.
SELECT
    j.id, j.namespace, j.name, j.version, j.state, j.reason, j.message, j.spec, j.annotations, j.next_fire_at,
    active.count AS active, last.*, last_run.*, runs.last_schedule_time, runs.last_successful_time, runs.consecutive_failures
FROM job_definition AS j
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM job_execution_log AS e
    WHERE e.job_id = j.id AND (e.state IN ('PENDING', 'RUNNING') OR e.abandoned)
) AS active
LEFT JOIN LATERAL (
    SELECT
        e.id AS last_id, e.fire_time AS last_fire_time, e.started_at AS last_started_at,
        e.finished_at AS last_finished_at, e.duration_ms AS last_duration_ms, e.state AS last_state,
        e.reason AS last_reason, e.message AS last_message, e.attempt AS last_attempts, e.trigger AS last_trigger,
        i.hostname AS last_replica
    FROM job_execution_log AS e
    LEFT JOIN scheduler_instance AS i ON i.id = e.claimed_by
    WHERE e.job_id = j.id AND e.finished_at IS NOT NULL
    ORDER BY e.fire_time DESC
    LIMIT 1
) AS last ON true
LEFT JOIN LATERAL (
    SELECT e.state AS last_run_state, e.message AS last_run_message
    FROM job_execution_log AS e
    WHERE e.job_id = j.id AND e.finished_at IS NOT NULL AND e.state NOT IN ('SKIPPED', 'MISSED', 'CANCELLED')
    ORDER BY e.fire_time DESC
    LIMIT 1
) AS last_run ON true
CROSS JOIN LATERAL (
    SELECT
        max(r.fire_time) FILTER (WHERE r.run_key = '') AS last_schedule_time,
        max(r.finished_at) FILTER (WHERE r.state = 'SUCCEEDED') AS last_successful_time,
        count(*) FILTER (WHERE r.state IN ('FAILED', 'TIMED_OUT', 'LOST') AND r.successes = 0) AS consecutive_failures
    FROM (
        SELECT
            e.fire_time, e.finished_at, e.state, e.run_key,
            count(*) FILTER (WHERE e.state = 'SUCCEEDED') OVER (ORDER BY e.fire_time DESC, e.id DESC) AS successes
        FROM job_execution_log AS e
        WHERE e.job_id = j.id AND e.state NOT IN ('SKIPPED', 'MISSED')
        ORDER BY e.fire_time DESC, e.id DESC
        LIMIT %(most)s
    ) AS r
) AS runs
WHERE j.id = ANY(%(ids)s) AND j.state <> 'DELETED'
