-- What the coming moments of all jobs follow from.
SELECT id, spec, anchor_at, next_fire_at
FROM job_definition
WHERE state = 'ACTIVE' AND next_fire_at IS NOT NULL AND next_fire_at < %(until)s
    AND (%(namespaces)s::text[] IS NULL OR namespace = ANY(%(namespaces)s))
ORDER BY due_from, next_due_at
LIMIT %(most)s
