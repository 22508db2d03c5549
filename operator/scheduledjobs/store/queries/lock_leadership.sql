-- Begin a take-over: a bare UPDATE can be starved by overlapping FOR SHARE, this lock cannot.
LOCK TABLE leadership IN EXCLUSIVE MODE
