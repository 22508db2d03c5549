-- What of each job has not ended: how many executions, how many of these are over but for their code, and the newest of them.
-- One that ends changes one of the three, whatever is inserted meanwhile: a job's are inserted one after the other.
SELECT job_id, count(*) AS active, count(*) FILTER (WHERE abandoned) AS abandoned, max(id) AS newest
FROM job_execution_log
WHERE state IN ('PENDING', 'RUNNING') OR abandoned
GROUP BY job_id
