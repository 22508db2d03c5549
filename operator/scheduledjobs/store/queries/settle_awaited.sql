-- Forget executions of which it is known by now whether an attempt follows, or whose row is gone; return those that none
-- follows, as find_noticeable does. Each row is read by its key, in its day. What a replica notes, since it writes
-- the end late, is seen together with that end.
WITH settled AS MATERIALIZED (
    SELECT a.key, e.*
    FROM notice_cursor AS c
    CROSS JOIN LATERAL jsonb_each_text(c.awaited) AS a (key, fire_time)
    LEFT JOIN LATERAL (
        SELECT
            l.id, l.fire_time, l.job_id, l.namespace, l.job_name, l.state, l.reason, l.message, l.attempt, l.moment_count,
            l.finished_at, l.abandoned, l.cancel_reason, l.version
        FROM job_execution_log AS l
        WHERE l.id = a.key::bigint AND l.fire_time = a.fire_time::timestamptz
        LIMIT 1
    ) AS e ON true
    WHERE e.id IS NULL OR NOT e.abandoned OR e.cancel_reason IS NOT NULL
        -- Its code runs on, but it has no retry left: of such a look notes none, only who writes late.
        OR e.attempt > coalesce((
            SELECT
                CASE jsonb_typeof(v.spec -> 'retry' -> 'limit')
                    WHEN 'number' THEN (v.spec -> 'retry' ->> 'limit')::numeric
                END
            FROM job_definition_version AS v
            WHERE v.job_id = e.job_id AND v.version = e.version
            LIMIT 1
        ), 0)
    LIMIT %(most)s
),
forgotten AS (
    UPDATE notice_cursor
    SET awaited = awaited - ARRAY(SELECT key FROM settled)
    WHERE EXISTS (SELECT FROM settled)
)
SELECT
    s.id, s.fire_time, s.job_id, s.namespace, s.job_name, s.state, s.reason, s.message, s.attempt, s.moment_count,
    s.finished_at, s.abandoned, s.cancel_reason,
    (SELECT j.annotations FROM job_definition AS j WHERE j.id = s.job_id) AS annotations,
    (SELECT f.fire_time FROM notice_failing AS f WHERE f.job_id = s.job_id AND f.recovered_at IS NULL) AS failing,
    NULL AS retry
FROM settled AS s
WHERE s.state IN ('FAILED', 'TIMED_OUT', 'LOST')
