-- pg_cron's jobs, oldest first; as JSON, because older versions lack some columns.
SELECT to_jsonb(job) AS job
FROM cron.job AS job
ORDER BY job.jobid
