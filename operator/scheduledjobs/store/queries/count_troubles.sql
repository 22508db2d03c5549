-- Of the last day: what failed and what was missed, as far as `most` rows of both together tell; and what runs now. Not
-- what was coalesced: another run stands for it.
WITH troubles AS (
    SELECT state
    FROM job_execution_log
    WHERE state IN ('FAILED', 'TIMED_OUT', 'LOST', 'MISSED') AND reason IS DISTINCT FROM 'Coalesced'
        AND fire_time > scheduler_now() - interval '1 day'
        AND (%(namespaces)s::text[] IS NULL OR namespace = ANY(%(namespaces)s))
    ORDER BY fire_time DESC
    LIMIT %(most)s
)
SELECT
    count(*) FILTER (WHERE state <> 'MISSED') AS failed, count(*) FILTER (WHERE state = 'MISSED') AS missed,
    (
        SELECT count(*)
        FROM job_execution_log
        WHERE (state = 'RUNNING' OR abandoned) AND claimed_by IS NOT NULL
            AND (%(namespaces)s::text[] IS NULL OR namespace = ANY(%(namespaces)s))
    ) AS running
FROM troubles
