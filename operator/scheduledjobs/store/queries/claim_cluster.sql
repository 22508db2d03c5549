-- The database belongs to the first cluster that uses it.
UPDATE leadership SET cluster = coalesce(cluster, %(cluster)s) RETURNING cluster
