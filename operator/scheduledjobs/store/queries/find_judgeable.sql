-- What is to be judged anew now that these handlers are there: what cannot run, and what no longer can.
SELECT * FROM job_definition WHERE state = 'INVALID' OR (state <> 'DELETED' AND NOT handler = ANY(%(handlers)s))
