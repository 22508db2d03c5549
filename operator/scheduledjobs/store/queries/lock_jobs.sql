-- Lock the rows of these jobs, whatever their state, in id order.
SELECT * FROM job_definition WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE
