-- All that ended before was noticed.
INSERT INTO notice_cursor (since)
VALUES (%(since)s)
ON CONFLICT (only_row) DO UPDATE SET since = excluded.since
