-- Lock those jobs that still wait, in id order; one that somebody else has locked is left for the next look.
SELECT
    id, namespace, name, version, handler, state, reason, message, spec, created_at, effective_from, anchor_at,
    next_fire_at, next_due_at, last_fire_time
FROM job_definition
WHERE id = ANY(%(ids)s) AND schedule_kind = 'FIXED_DELAY' AND next_fire_at IS NULL AND state = 'ACTIVE'
ORDER BY id
FOR UPDATE SKIP LOCKED
