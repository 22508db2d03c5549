-- One-shots that are suspended and were due longer ago than so, the least late first. That one whose pause has ended is
-- suspended no more, nobody has written yet: it is not among them.
SELECT
    id, namespace, name, version, handler, state, reason, message, spec, created_at, effective_from, anchor_at,
    next_fire_at, next_due_at, last_fire_time
FROM job_definition
WHERE next_due_at <= scheduler_now() - make_interval(secs => %(late_seconds)s)
    AND due_from <= scheduler_now() - make_interval(secs => %(late_seconds)s)
    AND state = 'SUSPENDED' AND schedule_kind = 'ONE_SHOT'
    AND (paused_until IS NULL OR paused_until > scheduler_now())
    AND id <> ALL(%(excluded)s)
ORDER BY due_from DESC
LIMIT %(most)s
