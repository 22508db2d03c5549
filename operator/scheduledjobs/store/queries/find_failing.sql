-- The jobs of the newest failures of a week whose newest run that ended is one of them: the newest 200, and how many
-- there are. is_cut: there may be failures that were not looked at, and they of other jobs that fail.
WITH newest AS MATERIALIZED (
    SELECT e.job_id, e.fire_time
    FROM job_execution_log AS e
    WHERE e.state IN ('FAILED', 'TIMED_OUT', 'LOST') AND e.fire_time > scheduler_now() - interval '7 days'
        AND (%(namespaces)s::text[] IS NULL OR e.namespace = ANY(%(namespaces)s))
    ORDER BY e.fire_time DESC
    LIMIT %(most)s
), failing AS MATERIALIZED (
    SELECT f.job_id, f.fire_time
    FROM (
        SELECT t.job_id, max(t.fire_time) AS fire_time
        FROM newest AS t
        GROUP BY t.job_id
    ) AS f
    JOIN job_definition AS j ON j.id = f.job_id AND j.state <> 'DELETED'
    -- Not NOT EXISTS, which would be a join with the whole log: one look for each of these jobs.
    WHERE (
        SELECT true
        FROM job_execution_log AS e
        WHERE e.job_id = f.job_id AND e.fire_time > f.fire_time AND e.state = 'SUCCEEDED'
        LIMIT 1
    ) IS NULL
)
SELECT
    ARRAY(SELECT job_id FROM failing ORDER BY fire_time DESC LIMIT 200) AS ids,
    (SELECT count(*) FROM failing) AS count,
    (SELECT count(*) FROM newest) >= %(most)s AS is_cut
