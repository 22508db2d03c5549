-- What quotas count of living jobs: a page in the order of ids, of these namespaces or of all.
SELECT
    id, namespace, created_at, state, reason, spec ->> 'schedule' AS schedule, spec ->> 'fixedRate' AS "fixedRate",
    spec ->> 'fixedDelay' AS "fixedDelay"
FROM job_definition
WHERE state <> 'DELETED' AND id > %(after)s
    AND (%(namespaces)s::text[] IS NULL OR namespace = ANY(%(namespaces)s::text[]))
ORDER BY id
LIMIT %(most)s
