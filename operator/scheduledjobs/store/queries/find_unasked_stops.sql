-- Runs in the way of one that replaces them, and not asked to stop yet: whatever became of the first request.
SELECT o.id
FROM (
    SELECT DISTINCT job_id FROM job_execution_log
    WHERE state = 'PENDING' AND visible_at = 'infinity' AND reason = 'Replacing'
) AS held
JOIN job_execution_log AS o ON o.job_id = held.job_id AND o.cancel_reason IS NULL
    AND (o.state = 'RUNNING' OR o.state = 'PENDING' AND o.reason = 'HandedOver')
