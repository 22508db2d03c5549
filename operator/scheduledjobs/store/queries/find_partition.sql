-- Is a table a partition, and was a detach of it interrupted? No row: it is not there.
SELECT c.relispartition AS is_attached, coalesce(i.inhdetachpending, false) AS is_detaching
FROM pg_class AS c
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
WHERE c.oid = to_regclass(%(table)s)
