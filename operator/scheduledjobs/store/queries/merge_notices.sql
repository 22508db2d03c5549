-- Of what is only counted of a job, and can be read no more (see prune_notices), keep one row that counts the others too:
-- while a webhook takes nothing, what waits for it grows with the jobs and not with the time.
WITH waiting AS MATERIALIZED (
    SELECT n.webhook, n.kind, n.job_id, n.execution_id, n.noticed_at
    FROM notice AS n
    WHERE n.folded AND n.message_id IS NULL
        AND n.noticed_at < scheduler_now() - CASE WHEN n.kind IN ('miss', 'longRun') THEN interval '25 hours' ELSE interval '1 hour' END
        AND n.occurred_at < (SELECT c.since FROM notice_cursor AS c) - interval '1 minute'
    ORDER BY n.noticed_at, n.execution_id, n.kind
    FOR UPDATE OF n
),
known AS MATERIALIZED (
    SELECT
        webhook, kind, job_id, execution_id,
        first_value(execution_id) OVER (PARTITION BY webhook, kind, job_id ORDER BY noticed_at, execution_id) AS kept_id
    FROM waiting
),
gone AS (
    DELETE FROM notice AS n
    USING known AS k
    WHERE n.execution_id = k.execution_id AND n.kind = k.kind AND n.webhook = k.webhook
        AND k.execution_id <> k.kept_id
    RETURNING n.webhook, n.kind, k.kept_id, 1 + n.others AS notices
)
UPDATE notice AS n
SET others = n.others + g.notices
FROM (SELECT webhook, kind, kept_id, sum(notices) AS notices FROM gone GROUP BY webhook, kind, kept_id) AS g
WHERE n.execution_id = g.kept_id AND n.kind = g.kind AND n.webhook = g.webhook
