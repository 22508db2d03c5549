-- A leader's session holds its term's number as an advisory lock; when the process dies, the lock is free.
SELECT pg_try_advisory_lock(%(space)s, %(term)s) AS taken
