-- The jobs to verify, those that are gone too while their history may be there.
SELECT
    id, namespace, name, state, version, created_at, updated_at, next_fire_at, next_due_at, last_fire_time, deleted_at,
    schedule_kind
FROM job_definition
WHERE (%(namespace)s::text IS NULL OR namespace = %(namespace)s)
    AND (%(job_name)s::text IS NULL OR name = %(job_name)s)
    AND (deleted_at IS NULL OR deleted_at >= %(since)s)
ORDER BY namespace, name, created_at
