-- Take up to so many executions under contention: what was handed over, then on-time before catch-ups, namespaces in
-- turn, then by due time. The namespaces that wait, and each one's part, are read from one index of the waiting, a
-- namespace a probe: neither the number of jobs nor one namespace's flood costs the others anything. (IS FALSE, since
-- Postgres makes <> of "= false", which no index orders.) More is chosen than taken, since others claim the same rows at
-- the same time. With limits, the caller has taken the advisory lock of claims in a statement before this one, or two
-- would count the same slots.
WITH RECURSIVE spaces (namespace) AS (
    (SELECT namespace FROM job_execution_log WHERE state = 'PENDING' ORDER BY namespace LIMIT 1)
    UNION ALL
    SELECT (
        SELECT e.namespace
        FROM job_execution_log AS e
        WHERE e.state = 'PENDING' AND e.namespace > s.namespace
        ORDER BY e.namespace
        LIMIT 1
    )
    FROM spaces AS s
    WHERE s.namespace IS NOT NULL
), handed AS MATERIALIZED (
    SELECT id, fire_time
    FROM job_execution_log
    WHERE state = 'PENDING' AND reason = 'HandedOver' AND visible_at <= scheduler_now()
        AND (start_before IS NULL OR start_before > scheduler_now()) AND handler = ANY(%(handlers)s)
    ORDER BY visible_at
    LIMIT %(slots)s
    FOR UPDATE SKIP LOCKED
), running AS MATERIALIZED (
    -- With what was handed over, whose work goes on: a claim of it makes nothing more, so no limit holds it back.
    SELECT namespace, count(*) AS n
    FROM (
        SELECT namespace FROM job_execution_log WHERE (state = 'RUNNING' OR abandoned) AND %(limited)s::boolean
        UNION ALL
        SELECT namespace
        FROM job_execution_log
        WHERE state = 'PENDING' AND reason = 'HandedOver' AND %(limited)s::boolean
    ) AS under_way
    GROUP BY namespace
), waiting AS MATERIALIZED (
    SELECT
        e.id, e.fire_time, e.visible_at, e.trigger = 'CATCH_UP' AS is_catch_up, s.namespace,
        coalesce(r.n, 0) + row_number() OVER (
            PARTITION BY s.namespace ORDER BY e.trigger = 'CATCH_UP', e.visible_at, e.id
        ) AS turn
    FROM spaces AS s
    LEFT JOIN running AS r ON r.namespace = s.namespace
    CROSS JOIN LATERAL (
        (
            SELECT c.id, c.fire_time, c.visible_at, c.trigger
            FROM job_execution_log AS c
            WHERE c.namespace = s.namespace AND c.state = 'PENDING' AND (c.trigger = 'CATCH_UP') IS FALSE
                AND c.visible_at <= scheduler_now() AND c.reason IS DISTINCT FROM 'HandedOver'
                AND (c.start_before IS NULL OR c.start_before > scheduler_now()) AND c.handler = ANY(%(handlers)s)
            ORDER BY c.visible_at, c.id
            LIMIT %(choice)s
        )
        UNION ALL
        (
            SELECT c.id, c.fire_time, c.visible_at, c.trigger
            FROM job_execution_log AS c
            WHERE c.namespace = s.namespace AND c.state = 'PENDING' AND (c.trigger = 'CATCH_UP') IS TRUE
                AND c.visible_at <= scheduler_now() AND c.reason IS DISTINCT FROM 'HandedOver'
                AND (c.start_before IS NULL OR c.start_before > scheduler_now()) AND c.handler = ANY(%(handlers)s)
            ORDER BY c.visible_at, c.id
            LIMIT %(choice)s
        )
    ) AS e
    WHERE s.namespace IS NOT NULL
), chosen AS MATERIALIZED (
    SELECT w.id, w.fire_time
    FROM waiting AS w
    WHERE %(limits)s::jsonb IS NULL
        -- Where 0 is no limit: then there is nothing that turn could be more than, and the comparison is not true.
        OR (w.turn > nullif(coalesce(%(limits)s::jsonb -> w.namespace, %(limits)s::jsonb -> '*')::bigint, 0)) IS NOT TRUE
    ORDER BY w.is_catch_up, w.turn, w.visible_at, w.id
    LIMIT %(choice)s
), picked AS MATERIALIZED (
    -- Locked in the order chosen, until there are enough. Found by id alone: with the state, an index of all that waits
    -- would do for the planner, and be read once a row.
    SELECT e.id, e.fire_time, e.state, e.visible_at
    FROM unnest(ARRAY(SELECT id FROM chosen), ARRAY(SELECT fire_time FROM chosen))
        WITH ORDINALITY AS c (id, fire_time, place)
    JOIN job_execution_log AS e ON e.id = c.id AND e.fire_time = c.fire_time
    ORDER BY c.place
    LIMIT CASE
        WHEN %(global)s::bigint = 0 THEN %(slots)s::bigint - (SELECT count(*) FROM handed)
        ELSE greatest(0, least(
            %(slots)s::bigint - (SELECT count(*) FROM handed),
            %(global)s::bigint - (SELECT coalesce(sum(n), 0) FROM running)
        ))
    END
    FOR UPDATE OF e SKIP LOCKED
), free AS MATERIALIZED (
    SELECT id, fire_time FROM handed
    UNION ALL
    SELECT id, fire_time FROM picked WHERE state = 'PENDING' AND visible_at <= scheduler_now()
)
UPDATE job_execution_log AS e
SET state = 'RUNNING',
    reason = CASE WHEN e.reason = 'HandedOver' THEN e.reason END,
    -- Of an attempt that goes on: its note. Else it is an earlier attempt's, and no note of this one.
    result = CASE WHEN e.reason = 'HandedOver' THEN e.result END,
    message = CASE WHEN e.reason IS DISTINCT FROM 'HandedOver' THEN e.message END,
    claim_no = e.claim_no + 1,
    attempt = e.attempt + 1,
    claimed_by = %(replica)s,
    claimed_at = scheduler_now(),
    started_at = CASE WHEN e.reason = 'HandedOver' THEN e.started_at ELSE scheduler_now() END,
    lateness_ms = CASE WHEN e.run_key = '' AND e.attempt = 0 AND e.reason IS DISTINCT FROM 'HandedOver'
        THEN extract(epoch FROM scheduler_now() - coalesce(e.due_at, e.fire_time)) * 1000 ELSE e.lateness_ms END
-- As arrays, since the planner takes these for short: of the CTE it thinks that it is long, and reads the whole log.
FROM unnest(ARRAY(SELECT id FROM free), ARRAY(SELECT fire_time FROM free)) AS p (id, fire_time)
WHERE e.id = p.id AND e.fire_time = p.fire_time
RETURNING
    e.id, e.fire_time, e.namespace, e.job_name, e.job_id, e.version, e.run_key, e.attempt, e.trigger, e.claim_no,
    e.handler, e.payload, e.missed_count, e.first_missed_at, e.claimed_at,
    coalesce(e.due_at, e.fire_time) AS due_at, e.reason, e.started_at, e.result, e.cancel_reason, e.cancel_requested_by
