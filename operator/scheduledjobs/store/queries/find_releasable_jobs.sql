-- Jobs that have a held run and nothing else live.
SELECT held.job_id
FROM (SELECT DISTINCT job_id FROM job_execution_log WHERE state = 'PENDING' AND visible_at = 'infinity') AS held
WHERE NOT EXISTS (
    SELECT FROM job_execution_log AS o
    WHERE o.job_id = held.job_id AND (o.state = 'RUNNING' OR o.abandoned OR (o.state = 'PENDING' AND o.visible_at < 'infinity'))
)
LIMIT 1000
