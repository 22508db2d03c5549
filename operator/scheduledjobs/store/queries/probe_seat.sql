-- Is the seat of this term free? Tried and given back at once: a blocked wait would pin the oldest transaction.
SELECT pg_try_advisory_xact_lock_shared(%(space)s, %(term)s) AS free
