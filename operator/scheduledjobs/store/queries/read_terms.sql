-- The newest terms.
SELECT term, holder, acquired_at FROM leadership_term ORDER BY term DESC LIMIT %(most)s
