-- The jobs of which a row ended since the last look. BRIN on finished_at: reads the newest pages, not the day.
SELECT DISTINCT job_id
FROM job_execution_log
WHERE finished_at >= scheduler_now() - make_interval(secs => %(seconds)s)
