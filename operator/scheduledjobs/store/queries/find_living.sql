-- The jobs that the mirror has: a page in the order of ids, of these namespaces or of all.
SELECT id FROM job_definition
WHERE state <> 'DELETED' AND id > %(after)s
    AND (%(namespaces)s::text[] IS NULL OR namespace = ANY(%(namespaces)s::text[]))
ORDER BY id
LIMIT %(most)s
