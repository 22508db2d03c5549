-- Forget jobs that are gone for longer than history is kept, with the rights of the schema's owner:
-- migrations/0010_forgotten_jobs.sql.
SELECT forget_jobs(%(kept_from)s, %(most)s) AS forgotten
