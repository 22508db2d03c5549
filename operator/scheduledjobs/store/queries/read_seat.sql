-- Whose term is in force, and is its seat free? Tried and given back at once: a blocked wait would pin the oldest
-- transaction.
SELECT term, pg_try_advisory_xact_lock_shared(%(space)s, term::integer) AS is_free FROM leadership
