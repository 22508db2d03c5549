-- The database's time, cut to the millisecond that columns hold: rounded up, it would lie in the future.
SELECT date_trunc('milliseconds', scheduler_now()) AS now
