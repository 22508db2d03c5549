-- Since when ended rows have not been noticed.
SELECT since
FROM notice_cursor
