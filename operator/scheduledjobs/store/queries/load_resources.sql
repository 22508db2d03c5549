-- Living jobs as the mirror holds them, to be judged anew.
SELECT * FROM job_definition WHERE id = ANY(%(ids)s) AND state <> 'DELETED'
