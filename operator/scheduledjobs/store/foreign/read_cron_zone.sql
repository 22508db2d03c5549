-- The zone that pg_cron reads its schedules in, and what time it is there.
SELECT coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT') AS zone, clock_timestamp() AS now
