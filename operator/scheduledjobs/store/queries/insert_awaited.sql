-- Note executions, fire times by id, of which it is not known yet whether an attempt follows.
UPDATE notice_cursor
SET awaited = awaited || %(fire_times)s::jsonb
WHERE NOT awaited @> %(fire_times)s::jsonb
