-- A job by its name: the living one, else the one that had the name last.
SELECT * FROM job_definition
WHERE namespace = %(namespace)s AND name = %(job_name)s
ORDER BY (state = 'DELETED'), deleted_at DESC
LIMIT 1
