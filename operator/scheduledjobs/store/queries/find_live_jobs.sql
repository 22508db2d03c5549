-- What of each job has not ended: how many executions, and the newest of them. One that ends changes either, whatever is
-- inserted meanwhile, since a job's executions are inserted one after the other.
SELECT job_id, count(*) AS active, max(id) AS newest
FROM job_execution_log
WHERE state IN ('PENDING', 'RUNNING') OR abandoned
GROUP BY job_id
