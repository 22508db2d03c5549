-- Pauses that have ended or end within so many seconds, the soonest first, but for those that are put off; seconds: until
-- then, by the database.
SELECT id, extract(epoch FROM paused_until - scheduler_now())::double precision AS seconds
FROM job_definition
WHERE state = 'SUSPENDED' AND paused_until IS NOT NULL
    AND paused_until <= scheduler_now() + make_interval(secs => %(ahead_seconds)s)
    AND id <> ALL(%(excluded)s::uuid[])
ORDER BY paused_until, id
LIMIT 200
