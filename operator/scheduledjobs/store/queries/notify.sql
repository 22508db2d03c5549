-- Wake whoever listens, in a transaction of its own: inside another, a full queue would fail that one's COMMIT.
SELECT pg_notify(%(channel)s, %(payload)s)
