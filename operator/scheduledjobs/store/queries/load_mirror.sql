-- What a compare holds against the API server's list: identity, and what changes when something we read changes.
SELECT id, namespace, name, version, resource_version, annotations, state, reason, handler FROM job_definition WHERE state <> 'DELETED'
