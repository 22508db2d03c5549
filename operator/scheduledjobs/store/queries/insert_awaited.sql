-- Note executions, fire times by id, of which it is not known yet whether an attempt follows, or whose end is written so
-- late that no look may find it. Without a webhook there is no row.
UPDATE notice_cursor
SET awaited = awaited || %(fire_times)s::jsonb
WHERE NOT awaited @> %(fire_times)s::jsonb
