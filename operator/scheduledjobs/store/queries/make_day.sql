-- Make the partition of a day, with the rights of the schema's owner: migrations/0004_roles.sql.
SELECT make_day(%(parent)s, %(day)s) IS NULL AS made
