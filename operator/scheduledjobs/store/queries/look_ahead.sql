-- The look-ahead: which active jobs are due within the horizon and not longer ago than so, soonest first; only what a
-- plan that is known is compared by, since nearly all of them are.
SELECT id, version, next_fire_at, next_due_at, last_fire_time
FROM job_definition
WHERE next_due_at > (SELECT scheduler_now()) - make_interval(secs => %(late_seconds)s)
    AND next_due_at <= (SELECT scheduler_now()) + make_interval(secs => %(horizon_seconds)s)
    AND due_from > (SELECT scheduler_now()) - make_interval(secs => %(late_seconds)s) - interval '16 seconds'
    AND due_from <= (SELECT scheduler_now()) + make_interval(secs => %(horizon_seconds)s)
    AND state = 'ACTIVE'
    AND id <> ALL(%(excluded)s)
    -- Moments after the end of a pause are not suspended: the pause is ended first.
    AND (paused_until IS NULL OR paused_until > (SELECT scheduler_now()))
ORDER BY due_from, next_due_at, id
LIMIT %(most)s
