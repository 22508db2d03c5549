-- What was in force for a job at an instant. A version counts from its effective_from on and takes the place of those
-- recorded before it that were to count later. Of several with one effective_from it is what was recorded last until then.
WITH begun AS (
    SELECT effective_from
    FROM job_definition_version
    WHERE job_id = %(job_id)s AND effective_from <= %(at)s
    ORDER BY seq DESC
    LIMIT 1
)
SELECT v.version, v.recorded_at, v.spec, v.effective_from, v.anchor_at, v.field_manager, v.state, v.reason, v.message
FROM job_definition_version AS v
JOIN begun AS b ON v.effective_from = b.effective_from
WHERE v.job_id = %(job_id)s
    AND v.seq > coalesce(
        (
            SELECT max(o.seq)
            FROM job_definition_version AS o
            WHERE o.job_id = %(job_id)s AND o.effective_from < (SELECT effective_from FROM begun)
        ),
        -1
    )
ORDER BY v.recorded_at <= %(at)s DESC, CASE WHEN v.recorded_at <= %(at)s THEN -v.seq ELSE v.seq END
LIMIT 1
