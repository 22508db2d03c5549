-- The jobs that have had a name, one after the other: the living one first, then those that are gone, newest first.
SELECT j.*, v.first_from
FROM job_definition AS j
CROSS JOIN LATERAL (
    SELECT min(effective_from) AS first_from FROM job_definition_version WHERE job_id = j.id
) AS v
WHERE j.namespace = %(namespace)s AND j.name = %(job_name)s
ORDER BY (j.state = 'DELETED'), j.deleted_at DESC
LIMIT 100
