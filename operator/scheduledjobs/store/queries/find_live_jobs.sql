-- What of each job has not ended, as one number: one that ends takes its part out of it, one whose code alone goes on adds
-- another one. Ids are hashed, since of numbers in a row two pairs often have one sum.
SELECT job_id, bit_xor(hashint8extended(id, abandoned::integer)) AS live
FROM job_execution_log
WHERE state IN ('PENDING', 'RUNNING') OR abandoned
GROUP BY job_id
