-- How many executions may start and have not, up to `most` of them; and for how long the oldest has waited, in seconds.
SELECT
    count(*) AS waiting,
    coalesce(extract(epoch FROM max(scheduler_now() - w.visible_at)), 0)::double precision AS oldest_seconds
FROM (
    SELECT visible_at
    FROM job_execution_log
    WHERE state = 'PENDING' AND visible_at <= scheduler_now()
    ORDER BY (trigger = 'CATCH_UP'), visible_at, id
    LIMIT %(most)s
) AS w
