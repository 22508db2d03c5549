-- What the status of a job is made of. Its newest success is looked for among its newest 1,000 executions that ended, what
-- failed since is counted among them, and what ran last looked for, all in its newest 10,000 rows that are closed (what waits
-- may be more, and stand before them), its newest moment in its newest 10,000: a job that does well costs a few rows, however
-- long its past is. is_cut: there is no success so near, and there may be more behind. The bounds stand in subselects, or the
-- planner would take them for all that there is, by statistics that are too old, and sort.
SELECT
    j.id, j.namespace, j.name, j.version, j.state, j.reason, j.message, j.spec, j.annotations, j.next_fire_at,
    j.last_fire_time IS NOT NULL AS has_fired,
    active.count AS active, last.*, last_run.*,
    scheduled.last_schedule_time, success.finished_at AS last_successful_time, failures.count AS consecutive_failures,
    CASE WHEN success.fire_time IS NULL THEN failures.runs = %(most)s OR EXISTS (
        SELECT FROM job_execution_log AS e
        WHERE e.job_id = j.id AND e.finished_at IS NOT NULL AND e.fire_time <= last.last_fire_time
        OFFSET (SELECT %(most_rows)s::bigint)
    ) ELSE false END AS is_cut
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
    SELECT
        w.fire_time AS last_run_fire_time, w.state AS last_run_state, w.reason AS last_run_reason,
        w.message AS last_run_message
    FROM (
        SELECT e.fire_time, e.run_key, e.state, e.reason, e.message
        FROM job_execution_log AS e
        WHERE e.job_id = j.id AND e.finished_at IS NOT NULL AND e.fire_time <= last.last_fire_time
        ORDER BY e.fire_time DESC, e.run_key DESC
        LIMIT (SELECT %(most_rows)s::bigint)
    ) AS w
    WHERE w.state NOT IN ('SKIPPED', 'MISSED', 'CANCELLED')
    ORDER BY w.fire_time DESC
    LIMIT 1
) AS last_run ON true
LEFT JOIN LATERAL (
    SELECT r.fire_time AS last_schedule_time
    FROM (
        SELECT w.fire_time, w.run_key
        FROM (
            SELECT e.fire_time, e.run_key, e.state
            FROM job_execution_log AS e
            WHERE e.job_id = j.id
            ORDER BY e.fire_time DESC, e.run_key DESC
            LIMIT (SELECT %(most_rows)s::bigint)
        ) AS w
        WHERE w.state NOT IN ('SKIPPED', 'MISSED')
        ORDER BY w.fire_time DESC, w.run_key DESC
        LIMIT (SELECT %(most)s::bigint)
    ) AS r
    WHERE r.run_key = ''
    ORDER BY r.fire_time DESC
    LIMIT 1
) AS scheduled ON true
LEFT JOIN LATERAL (
    SELECT r.fire_time, r.run_key, r.finished_at
    FROM (
        SELECT w.fire_time, w.run_key, w.finished_at, w.state
        FROM (
            SELECT e.fire_time, e.run_key, e.finished_at, e.state
            FROM job_execution_log AS e
            WHERE e.job_id = j.id AND e.finished_at IS NOT NULL AND e.fire_time <= last.last_fire_time
            ORDER BY e.fire_time DESC, e.run_key DESC
            LIMIT (SELECT %(most_rows)s::bigint)
        ) AS w
        WHERE w.state NOT IN ('SKIPPED', 'MISSED')
        ORDER BY w.fire_time DESC, w.run_key DESC
        LIMIT (SELECT %(most)s::bigint)
    ) AS r
    WHERE r.state = 'SUCCEEDED'
    ORDER BY r.fire_time DESC, r.run_key DESC
    LIMIT 1
) AS success ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS runs, count(*) FILTER (WHERE r.state IN ('FAILED', 'TIMED_OUT', 'LOST')) AS count
    FROM (
        SELECT w.state
        FROM (
            SELECT e.fire_time, e.run_key, e.state
            FROM job_execution_log AS e
            WHERE e.job_id = j.id AND e.finished_at IS NOT NULL AND e.fire_time <= last.last_fire_time
                AND (e.fire_time, e.run_key)
                > (coalesce(success.fire_time, '-infinity'), coalesce(success.run_key, ''))
            ORDER BY e.fire_time DESC, e.run_key DESC
            LIMIT (SELECT %(most_rows)s::bigint)
        ) AS w
        WHERE w.state NOT IN ('SKIPPED', 'MISSED')
        LIMIT (SELECT %(most)s::bigint)
    ) AS r
) AS failures
WHERE j.id = ANY(%(ids)s) AND j.state <> 'DELETED'
