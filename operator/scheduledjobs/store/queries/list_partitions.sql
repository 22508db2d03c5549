-- The days that the log has, and whether a detach of one was interrupted.
SELECT c.relname AS name, i.inhdetachpending AS is_detaching
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'job_execution_log'::regclass
ORDER BY c.relname
