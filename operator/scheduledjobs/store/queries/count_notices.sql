-- What a message counts, listed or not.
SELECT kind, namespace, sum(1 + others)::bigint AS notices, count(DISTINCT job_id) AS jobs
FROM notice
WHERE message_id = %(message_id)s
GROUP BY kind, namespace
