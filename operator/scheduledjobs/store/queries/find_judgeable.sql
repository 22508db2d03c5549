-- What is to be judged anew now that these handlers are there: what cannot run, and what no longer can. A page in the
-- order of ids.
SELECT * FROM job_definition
WHERE id > %(after)s AND (state = 'INVALID' OR (state <> 'DELETED' AND NOT handler = ANY(%(handlers)s)))
ORDER BY id
LIMIT %(most)s
