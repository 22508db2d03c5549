-- Take the next term, unless somebody took it since we read: who slept in between changes nothing.
UPDATE leadership
SET term = term + 1, holder = %(holder)s, acquired_at = scheduler_now()
WHERE term = %(expected)s
RETURNING term
