-- What a compare holds against a page of the API server's list: what changes when something we read changes.
SELECT id, state, version, resource_version, annotations FROM job_definition WHERE id = ANY(%(ids)s)
