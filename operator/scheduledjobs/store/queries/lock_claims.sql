-- Claims under a limit, one after the other: two that count at once would both take the last slot.
SELECT pg_advisory_xact_lock(hashtext('scheduledjobs claims under a limit')) IS NULL AS locked
