-- The tables of days that are no partitions: whoever detached one was interrupted before it was dropped. What others
-- made under such a name is theirs.
SELECT c.relname AS name
FROM pg_class AS c
JOIN pg_class AS p ON p.relnamespace = c.relnamespace AND p.relowner = c.relowner
WHERE p.oid = 'job_execution_log'::regclass AND c.relkind = 'r' AND NOT c.relispartition
    AND c.relname ~ '^job_execution_(log|attempt|output)_[0-9]{8}$'
