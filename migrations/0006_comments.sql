-- What each table and column is for, where psql (\d+) and other tools show it; docs/reference/tables.md is made of it.
-- A comment changes nothing that the program before reads or writes.

COMMENT ON FUNCTION scheduler_now() IS 'the time by which everything is decided: statement_timestamp(), which tests may set off';
COMMENT ON SEQUENCE execution_id IS 'ids of job_execution_log';

COMMENT ON TABLE job_definition IS 'One row for each ScheduledJob: what should run. Only the leader writes it; a deleted job keeps its row.';
COMMENT ON COLUMN job_definition.namespace IS 'metadata.namespace';
COMMENT ON COLUMN job_definition.name IS 'metadata.name; unique in its namespace among jobs that are not DELETED';
COMMENT ON COLUMN job_definition.resource_version IS 'metadata.resourceVersion as last seen: it orders what the API server says';
COMMENT ON COLUMN job_definition.annotations IS 'those under scheduledjobs.dev/ only';
COMMENT ON COLUMN job_definition.spec IS 'the spec as the API server holds it, defaults filled in';
COMMENT ON COLUMN job_definition.schedule_kind IS 'CRON, FIXED_RATE, FIXED_DELAY or ONE_SHOT; NULL where the schedule cannot be read';
COMMENT ON COLUMN job_definition.handler IS 'spec.handler';
COMMENT ON COLUMN job_definition.state IS 'ACTIVE, SUSPENDED, INVALID, COMPLETED or DELETED';
COMMENT ON COLUMN job_definition.reason IS 'why the state is as it is: reason of the condition Ready';
COMMENT ON COLUMN job_definition.message IS 'a sentence for people: message of the condition Ready';
COMMENT ON COLUMN job_definition.paused_until IS 'end of the pause that suspends the job; 9999-12-31: forever; NULL: no pause does';
COMMENT ON COLUMN job_definition.paused_by IS 'who asked for the pause';
COMMENT ON COLUMN job_definition.pause_reason IS 'why, in their words';
COMMENT ON COLUMN job_definition.effective_from IS 'from when on the schedule counts: nothing before it is due';
COMMENT ON COLUMN job_definition.anchor_at IS 'where the grid of a fixedRate without startTime begins';
COMMENT ON COLUMN job_definition.next_due_at IS 'when next_fire_at may fire: later than it by the jitter';
COMMENT ON COLUMN job_definition.created_at IS 'metadata.creationTimestamp';
COMMENT ON COLUMN job_definition.updated_at IS 'when the mirror last wrote the row';
COMMENT ON COLUMN job_definition.deleted_at IS 'when the deletion was recorded';

COMMENT ON COLUMN job_definition_version.job_id IS 'job_definition.id';
COMMENT ON COLUMN job_definition_version.version IS 'metadata.generation; one that is not here was never in force';
COMMENT ON COLUMN job_definition_version.recorded_at IS 'when the mirror recorded it';
COMMENT ON COLUMN job_definition_version.spec IS 'the spec of this version';
COMMENT ON COLUMN job_definition_version.effective_from IS 'from when on its moments are due';
COMMENT ON COLUMN job_definition_version.anchor_at IS 'where the grid of a fixedRate without startTime begins';
COMMENT ON COLUMN job_definition_version.suspended IS 'whether its moments are skipped, by the spec or a pause';
COMMENT ON COLUMN job_definition_version.field_manager IS 'who wrote it, as metadata.managedFields says';
COMMENT ON COLUMN job_definition_version.reason IS 'reason of the state';
COMMENT ON COLUMN job_definition_version.message IS 'a sentence for people';
COMMENT ON COLUMN job_definition_version.paused_by IS 'who asked for the pause';
COMMENT ON COLUMN job_definition_version.pause_reason IS 'why, in their words';

COMMENT ON COLUMN job_execution_log.fire_time IS 'the moment that the schedule names, in UTC; of a run-now the time of its recording; of a range row its first moment';
COMMENT ON COLUMN job_execution_log.namespace IS 'namespace of the job';
COMMENT ON COLUMN job_execution_log.job_name IS 'name of the job';
COMMENT ON COLUMN job_execution_log.state IS 'PENDING, RUNNING, SUCCEEDED, FAILED, TIMED_OUT, CANCELLED, LOST; never run: SKIPPED, MISSED';
COMMENT ON COLUMN job_execution_log.reason IS 'why the state is as it is: one word of the list in docs/reference/states.md';
COMMENT ON COLUMN job_execution_log.duration_ms IS 'how long the last attempt took';
COMMENT ON COLUMN job_execution_log.lateness_ms IS 'from when it was due to the start of its first attempt; NULL for a run-now';
COMMENT ON COLUMN job_execution_log.attempt IS 'how many attempts were started';
COMMENT ON COLUMN job_execution_log.trigger IS 'SCHEDULE, MANUAL (run-now) or CATCH_UP (made up by the misfire policy)';
COMMENT ON COLUMN job_execution_log.message IS 'a sentence for people: the error of the last attempt, or why nothing ran';
COMMENT ON COLUMN job_execution_log.handler IS 'the handler that it is for';
COMMENT ON COLUMN job_execution_log.started_at IS 'when the last attempt started';
COMMENT ON COLUMN job_execution_log.finished_at IS 'when the row was closed';
COMMENT ON COLUMN job_execution_log.last_fire_time IS 'of a range row: its last moment';
COMMENT ON COLUMN job_execution_log.result IS 'what the handler returned, at most 16 KiB';
COMMENT ON COLUMN job_execution_log.payload IS 'of a run-now with a payload of its own; else that of the version counts';
COMMENT ON COLUMN job_execution_log.id IS 'unique in the log';
COMMENT ON COLUMN job_execution_log.job_id IS 'job_definition.id';
COMMENT ON COLUMN job_execution_log.version IS 'the version that fired it, and whose payload and policies it runs with';
COMMENT ON COLUMN job_execution_log.claimed_by IS 'scheduler_instance.id of the replica that runs it or ran it last';
COMMENT ON COLUMN job_execution_log.claimed_at IS 'when that replica took it';
COMMENT ON COLUMN job_execution_log.blocked_by IS 'id of the execution that was in its way';
COMMENT ON COLUMN job_execution_log.cancel_reason IS 'the running attempt is asked to stop, and ends CANCELLED with this reason';
COMMENT ON COLUMN job_execution_log.cancel_requested_at IS 'when it was asked to';
COMMENT ON COLUMN job_execution_log.cancel_requested_by IS 'who asked';
COMMENT ON COLUMN job_execution_log.abandoned IS 'has ended, but its handler still runs and could not be stopped: its slot is taken, and it counts as live';
COMMENT ON COLUMN job_execution_log.missed_count IS 'of a run that stands for missed moments: how many';
COMMENT ON COLUMN job_execution_log.first_missed_at IS 'the first of these';

COMMENT ON COLUMN run_request.job_id IS 'job_definition.id';
COMMENT ON COLUMN run_request.token IS 'the value of the annotation scheduledjobs.dev/run-now';
COMMENT ON COLUMN run_request.payload IS 'the payload it asked for; NULL: that of the spec';
COMMENT ON COLUMN run_request.requested_at IS 'when it was recorded';
COMMENT ON COLUMN run_request.execution_id IS 'job_execution_log.id of its row';
COMMENT ON COLUMN run_request.fire_time IS 'fire_time of its row, which says in which partition it is';

COMMENT ON COLUMN job_execution_attempt.fire_time IS 'fire_time of the execution';
COMMENT ON COLUMN job_execution_attempt.execution_id IS 'job_execution_log.id';
COMMENT ON COLUMN job_execution_attempt.attempt IS 'its number, from 1';
COMMENT ON COLUMN job_execution_attempt.state IS 'how it ended: FAILED, TIMED_OUT or LOST';
COMMENT ON COLUMN job_execution_attempt.error IS 'type and text of the error';
COMMENT ON COLUMN job_execution_attempt.traceback IS 'the end of the traceback';
COMMENT ON COLUMN job_execution_attempt.started_at IS 'when it started';
COMMENT ON COLUMN job_execution_attempt.finished_at IS 'when it ended';
COMMENT ON COLUMN job_execution_attempt.replica IS 'scheduler_instance.id of the replica that ran it';

COMMENT ON COLUMN job_execution_output.fire_time IS 'fire_time of the execution';
COMMENT ON COLUMN job_execution_output.execution_id IS 'job_execution_log.id';
COMMENT ON COLUMN job_execution_output.attempt IS 'number of the attempt, from 1';
COMMENT ON COLUMN job_execution_output.output IS 'its lines';
COMMENT ON COLUMN job_execution_output.truncated IS 'whether older lines were dropped, or a long one cut';

COMMENT ON COLUMN scheduler_instance.id IS 'new at each start of a replica';
COMMENT ON COLUMN scheduler_instance.hostname IS 'how it is called: the name of its pod';
COMMENT ON COLUMN scheduler_instance.version IS 'of the program';
COMMENT ON COLUMN scheduler_instance.started_at IS 'when it registered';
COMMENT ON COLUMN scheduler_instance.heartbeat_at IS 'its last sign of life; who is dead is decided by its standing still, never by its age';
COMMENT ON COLUMN scheduler_instance.dead_at IS 'when it was declared dead, or stopped';
COMMENT ON COLUMN scheduler_instance.is_leader IS 'whether it led at the last heartbeat';
COMMENT ON COLUMN scheduler_instance.term IS 'the term that it leads in';
COMMENT ON COLUMN scheduler_instance.slots IS 'how many handlers it runs at once';
COMMENT ON COLUMN scheduler_instance.running IS 'how many it ran at the last heartbeat';
COMMENT ON COLUMN scheduler_instance.handlers IS 'the names of its handlers';

COMMENT ON COLUMN leadership.only_row IS 'keeps the table at one row';
COMMENT ON COLUMN leadership.term IS 'the number of the term in force: it only rises';
COMMENT ON COLUMN leadership.holder IS 'who leads: hostname and a random part';
COMMENT ON COLUMN leadership.acquired_at IS 'since when';

COMMENT ON COLUMN leadership_term.term IS 'number of the term';
COMMENT ON COLUMN leadership_term.holder IS 'who led';
COMMENT ON COLUMN leadership_term.acquired_at IS 'since when';

COMMENT ON TABLE schema_migration IS 'The migrations that were applied.';
COMMENT ON COLUMN schema_migration.number IS 'of the file in migrations/';
COMMENT ON COLUMN schema_migration.name IS 'its name without .sql';
COMMENT ON COLUMN schema_migration.checksum IS 'SHA-256 of its text: one that was changed since is refused';
COMMENT ON COLUMN schema_migration.applied_at IS 'when it was applied';
