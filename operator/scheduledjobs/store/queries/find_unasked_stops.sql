-- Runs in the way of one that replaces them, and not asked to stop yet, whatever became of the first request; is_waiting:
-- to be ended instead, since it has gone back to wait for its next attempt meanwhile.
SELECT o.id, o.job_id, o.state = 'PENDING' AND o.reason IS DISTINCT FROM 'HandedOver' AS is_waiting
FROM (
    SELECT DISTINCT job_id FROM job_execution_log
    WHERE state = 'PENDING' AND visible_at = 'infinity' AND reason = 'Replacing'
) AS held
JOIN job_execution_log AS o ON o.job_id = held.job_id AND (o.state IN ('PENDING', 'RUNNING') OR o.abandoned)
    AND CASE WHEN o.state = 'PENDING' AND o.reason IS DISTINCT FROM 'HandedOver' THEN o.visible_at < 'infinity'
        ELSE o.cancel_reason IS NULL END
