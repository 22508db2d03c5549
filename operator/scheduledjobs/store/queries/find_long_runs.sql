-- Attempts whose code has run for `seconds`, and those of jobs that name a time of their own, the longest first, each with
-- the webhooks that were told of it: another one may be told later, at its own time. One that has ended while its code
-- runs on is among them: it holds its slot and stands in the way of the next moments, as one that runs.
SELECT
    e.id, e.fire_time, e.job_id, e.namespace, e.job_name, e.state, e.reason, e.message, e.attempt, e.moment_count,
    e.started_at, j.annotations, extract(epoch FROM scheduler_now() - e.started_at)::double precision AS ran_seconds,
    ARRAY(SELECT n.webhook FROM notice AS n WHERE n.execution_id = e.id AND n.kind = 'longRun') AS told
FROM job_execution_log AS e
JOIN job_definition AS j ON j.id = e.job_id
WHERE (e.state = 'RUNNING' OR e.abandoned)
    AND (
        e.started_at <= scheduler_now() - make_interval(secs => %(seconds)s)
        OR jsonb_exists(j.annotations, 'scheduledjobs.dev/notify-long-run')
    )
    AND (e.started_at, e.id) > (%(after_at)s, %(after_id)s)
ORDER BY e.started_at, e.id
LIMIT %(most)s
