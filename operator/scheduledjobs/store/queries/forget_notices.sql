-- Without a webhook nothing is noticed: whoever is told later is told of what happens then.
WITH failing AS (
    DELETE FROM notice_failing
)
DELETE FROM notice_cursor
