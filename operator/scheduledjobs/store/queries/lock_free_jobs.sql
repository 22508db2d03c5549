-- Lock the rows of those of these jobs that nobody else has locked, in id order.
SELECT id FROM job_definition WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE SKIP LOCKED
