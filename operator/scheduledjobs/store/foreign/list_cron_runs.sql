-- What pg_cron has started since a moment.
SELECT run.jobid, run.start_time
FROM cron.job_run_details AS run
WHERE run.start_time > %(since)s
ORDER BY run.start_time
