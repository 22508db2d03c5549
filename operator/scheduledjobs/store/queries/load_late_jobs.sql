-- The backlog: active jobs that were due longer ago than so, the least late first (to 16 seconds), since those may be
-- within their grace. No other order than the index's: many may have been due at one moment, and sorting them would read
-- them all.
SELECT
    id, namespace, name, version, handler, state, reason, message, spec, created_at, effective_from, anchor_at,
    next_fire_at, next_due_at, last_fire_time
FROM job_definition
WHERE next_due_at <= scheduler_now() - make_interval(secs => %(late_seconds)s)
    AND due_from <= scheduler_now() - make_interval(secs => %(late_seconds)s)
    AND state = 'ACTIVE'
    AND id <> ALL(%(excluded)s)
ORDER BY due_from DESC
LIMIT %(most)s
