-- End the sessions of older terms that block a take-over: one that writes to a stopped client is reached by no timeout.
SELECT pg_terminate_backend(a.pid) AS ended
FROM pg_stat_activity AS a
WHERE a.pid = ANY(pg_blocking_pids(%(pid)s)) AND a.application_name LIKE 'scheduledjobs leader term=%%'
    AND substring(a.application_name FROM '[0-9]+$')::bigint < %(term)s
