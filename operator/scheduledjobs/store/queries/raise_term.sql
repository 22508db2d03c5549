-- Take the next term, unless somebody took it since we read: who slept in between changes nothing. Its history must not
-- stand in the way of a leader, so a term that is noted already is no error.
WITH raised AS (
    UPDATE leadership
    SET term = term + 1, holder = %(holder)s, acquired_at = scheduler_now()
    WHERE term = %(expected)s
    RETURNING term, holder, acquired_at
), noted AS (
    INSERT INTO leadership_term (term, holder, acquired_at)
    SELECT term, holder, acquired_at FROM raised
    ON CONFLICT (term) DO NOTHING
)
SELECT term FROM raised
