-- Terms that began longer ago than history is kept, but for the newest hundred.
DELETE FROM leadership_term
WHERE acquired_at < scheduler_now() - make_interval(days => %(days)s)
AND term NOT IN (SELECT term FROM leadership_term ORDER BY term DESC LIMIT 100)
