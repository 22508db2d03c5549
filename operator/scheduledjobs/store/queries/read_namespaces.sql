-- The namespaces that have or had jobs: one step along the index for each.
WITH RECURSIVE found AS (
    (SELECT namespace FROM job_definition ORDER BY namespace LIMIT 1)
    UNION ALL
    SELECT (SELECT j.namespace FROM job_definition AS j WHERE j.namespace > found.namespace ORDER BY j.namespace LIMIT 1)
    FROM found
    WHERE found.namespace IS NOT NULL
)
SELECT namespace FROM found WHERE namespace IS NOT NULL
