-- A page of jobs by namespace and name, or the jobs of some ids, with their newest executions as arrays, newest first,
-- and who manages each. Which of the filters is NULL asks for nothing. A job that is gone is shown only where it is asked
-- for. Executions are read once the page is known: a filter on them looks at one row of each job, and only if it is set.
WITH page AS MATERIALIZED (
    (
        SELECT j.*
        FROM job_definition AS j
        WHERE %(ids)s::uuid[] IS NULL
            AND (j.namespace, j.name, j.id) > (%(namespace_after)s::text, %(name_after)s::text, %(id_after)s::uuid)
            AND j.namespace >= coalesce((SELECT min(n) FROM unnest(%(namespaces)s::text[]) AS n), '')
            AND j.namespace <= coalesce(
                (SELECT max(n) FROM unnest(%(namespaces)s::text[]) AS n), (SELECT max(namespace) FROM job_definition)
            )
            AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY(%(namespaces)s))
            AND (CASE WHEN %(states)s::text[] IS NULL THEN j.state <> 'DELETED' ELSE j.state = ANY(%(states)s) END)
            AND (%(handler)s::text IS NULL OR j.handler = %(handler)s)
            AND (%(words)s::text[] IS NULL OR j.namespace || '/' || j.name || ' ' || j.handler ILIKE ALL(%(words)s))
            AND (%(outcome)s::text IS NULL OR %(outcome)s = (
                SELECT e.state
                FROM job_execution_log AS e
                WHERE e.job_id = j.id
                ORDER BY e.fire_time DESC, e.run_key DESC
                LIMIT 1
            ))
            AND (%(managers)s::text[] IS NULL OR (
                SELECT v.field_manager
                FROM job_definition_version AS v
                WHERE v.job_id = j.id AND v.field_manager IS NOT NULL
                ORDER BY (v.field_manager = ANY(%(gitops)s)) DESC, v.seq DESC
                LIMIT 1
            ) = ANY(%(managers)s))
        ORDER BY j.namespace, j.name, j.id
        LIMIT %(most)s
    )
    UNION ALL
    SELECT j.*
    FROM job_definition AS j
    WHERE j.id = ANY(%(ids)s::uuid[])
        AND (%(namespaces)s::text[] IS NULL OR j.namespace = ANY(%(namespaces)s))
        AND (CASE WHEN %(states)s::text[] IS NULL THEN j.state <> 'DELETED' ELSE j.state = ANY(%(states)s) END)
)
SELECT
    j.id, j.namespace, j.name, j.version, j.state, j.reason, j.message, j.spec, j.schedule_kind, j.handler,
    j.paused_until, j.paused_by, j.pause_reason, j.effective_from, j.anchor_at, j.next_fire_at, j.last_fire_time, j.created_at,
    j.updated_at, j.deleted_at, manager.field_manager, active.count AS active, recent.*
FROM page AS j
LEFT JOIN LATERAL (
    SELECT v.field_manager
    FROM job_definition_version AS v
    WHERE v.job_id = j.id AND v.field_manager IS NOT NULL
    ORDER BY (v.field_manager = ANY(%(gitops)s)) DESC, v.seq DESC
    LIMIT 1
) AS manager ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM job_execution_log AS e
    WHERE e.job_id = j.id AND (e.state IN ('PENDING', 'RUNNING') OR e.abandoned)
) AS active
CROSS JOIN LATERAL (
    SELECT
        array_agg(r.id) AS ids, array_agg(r.fire_time) AS fire_times, array_agg(r.state) AS states,
        array_agg(r.duration_ms) AS durations
    FROM (
        SELECT e.id, e.fire_time, e.state, e.duration_ms
        FROM job_execution_log AS e
        WHERE e.job_id = j.id
        ORDER BY e.fire_time DESC, e.run_key DESC
        LIMIT %(recent)s
    ) AS r
) AS recent
ORDER BY j.namespace, j.name, j.id
LIMIT %(most)s
