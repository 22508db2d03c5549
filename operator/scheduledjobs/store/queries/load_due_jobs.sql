-- Jobs of these states that are due, soonest first, with the spec that their version has.
SELECT
    id, namespace, name, version, handler, state, reason, message, spec, created_at, effective_from, anchor_at,
    next_fire_at, next_due_at, last_fire_time
FROM job_definition
WHERE next_due_at <= scheduler_now() AND due_from <= scheduler_now()
    AND state = ANY(%(states)s)
    AND id <> ALL(%(excluded)s)
    -- A suspended one-shot is decided when its suspension ends.
    AND NOT (state = 'SUSPENDED' AND schedule_kind = 'ONE_SHOT')
    -- Moments after the end of a pause are not suspended: the pause is ended first.
    AND (paused_until IS NULL OR paused_until > scheduler_now())
ORDER BY due_from, next_due_at, id
LIMIT %(most)s
