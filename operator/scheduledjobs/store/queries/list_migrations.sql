-- The migrations that this database has had.
SELECT number, name, checksum FROM schema_migration
