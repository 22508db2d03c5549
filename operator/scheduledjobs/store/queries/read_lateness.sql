-- How late the newest scheduled starts were: the 99th percentile, in milliseconds; NULL where nothing has started.
SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY newest.lateness_ms) AS p99
FROM (
    SELECT lateness_ms, run_key, trigger, namespace FROM job_execution_log ORDER BY id DESC LIMIT %(most)s
) AS newest
WHERE newest.lateness_ms IS NOT NULL AND newest.run_key = '' AND newest.trigger = 'SCHEDULE'
    AND (%(namespaces)s::text[] IS NULL OR newest.namespace = ANY(%(namespaces)s))
