-- Whose term is in force.
SELECT term, holder, cluster FROM leadership
