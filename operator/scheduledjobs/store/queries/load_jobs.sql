-- Jobs by id, as load_due_jobs reads them.
SELECT
    id, namespace, name, version, handler, state, reason, message, spec, created_at, effective_from, anchor_at,
    next_fire_at, next_due_at, last_fire_time
FROM job_definition
WHERE id = ANY(%(ids)s)
