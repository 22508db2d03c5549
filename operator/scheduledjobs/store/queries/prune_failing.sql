-- Forget recoveries that can be read no more, and jobs that are gone.
DELETE FROM notice_failing AS f
WHERE f.recovered_at < (SELECT c.since FROM notice_cursor AS c) - interval '1 minute'
    OR NOT EXISTS (SELECT FROM job_definition AS j WHERE j.id = f.job_id AND j.state <> 'DELETED')
