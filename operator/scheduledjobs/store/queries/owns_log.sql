-- May this user detach days itself? So the owner of the log may, and whoever is a member of that role.
SELECT pg_has_role(relowner, 'USAGE') AS owns FROM pg_class WHERE oid = 'job_execution_log'::regclass
