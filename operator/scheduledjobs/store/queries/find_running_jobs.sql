-- How many executions of each job have not ended.
SELECT job_id, count(*) AS active
FROM job_execution_log
WHERE state IN ('PENDING', 'RUNNING') OR abandoned
GROUP BY job_id
