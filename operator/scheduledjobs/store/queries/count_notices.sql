-- What a message counts, listed or not.
SELECT kind, namespace, count(*) AS notices, count(DISTINCT job_id) AS jobs
FROM notice
WHERE message_id = %(message_id)s
GROUP BY kind, namespace
