-- Is a table a partition? No row: it is not there.
SELECT relispartition AS is_attached FROM pg_class WHERE oid = to_regclass(%(table)s)
