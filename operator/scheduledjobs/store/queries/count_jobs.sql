-- How many jobs there are in each state.
SELECT state, count(*) AS count
FROM job_definition
WHERE state <> 'DELETED' AND (%(namespaces)s::text[] IS NULL OR namespace = ANY(%(namespaces)s))
GROUP BY state
