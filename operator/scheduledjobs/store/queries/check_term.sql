-- The first statement of every write of a leader: without this row it writes nothing. FOR SHARE makes a take-over
-- wait for the transaction, so nothing of an older term lands after a newer one began.
SELECT term FROM leadership WHERE term = %(term)s AND holder = %(holder)s FOR SHARE
