-- The jobs that the mirror has of other namespaces than these: a page in the order of ids.
SELECT id, namespace, name FROM job_definition
WHERE state <> 'DELETED' AND id > %(after)s AND namespace <> ALL(%(namespaces)s::text[])
ORDER BY id
LIMIT %(most)s
