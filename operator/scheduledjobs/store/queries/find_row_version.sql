-- The version that a row names which stands for a moment. A number has a record for each change of what was in force
-- under it: this is the first that was recorded after the moment, but its end or a suspension, under which nothing ran,
-- only where there is no other.
SELECT version, recorded_at, spec, effective_from, anchor_at, field_manager, state, reason, message
FROM job_definition_version
WHERE job_id = %(job_id)s AND version = %(version)s
ORDER BY (state = 'DELETED'), (state = 'SUSPENDED'), recorded_at <= %(at)s,
    CASE WHEN recorded_at <= %(at)s THEN -seq ELSE seq END
LIMIT 1
