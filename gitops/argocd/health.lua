-- Health of a ScheduledJob in Argo CD: whether it is accepted and being scheduled, by its conditions (kstatus).
--
-- A failed last run is said in the message and is not Degraded. Health decides whether a sync succeeds and whether its
-- next wave begins; a run that failed last night is mended by no sync, and would hold up all of them until tonight.
-- Who wants it otherwise sets this to true:
local a_failed_run_is_degraded = false

-- Nor is a paused or suspended job Suspended: Argo CD would wait for its resumption, with its next wave and its PostSync
-- hooks, as long as somebody on call has paused it. Who wants to see it, and waits, sets this to true:
local a_paused_job_is_suspended = false

local status = obj.status
if status == nil or status.conditions == nil then
  return {status = "Progressing", message = "the operator has not seen this job yet"}
end
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this change yet"}
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local ready, stalled, healthy = conditions.Ready, conditions.Stalled, conditions.Healthy

if stalled ~= nil and stalled.status == "True" then
  return {status = "Degraded", message = stalled.reason .. ": " .. stalled.message}
end
if ready == nil or ready.status == "Unknown" then
  return {status = "Progressing", message = "the operator has not judged this job yet"}
end
if ready.status == "False" then
  return {status = "Degraded", message = ready.reason .. ": " .. ready.message}
end

local last = ""
if healthy ~= nil and healthy.status == "False" then
  last = "the last run failed (" .. healthy.reason .. ", " .. tostring(status.consecutiveFailures or 1)
    .. " in a row): " .. healthy.message
  if a_failed_run_is_degraded then
    return {status = "Degraded", message = last}
  end
end

if status.suspended then
  return {status = a_paused_job_is_suspended and "Suspended" or "Healthy", message = ready.message}
end
if last ~= "" then
  return {status = "Healthy", message = last}
end
if ready.reason == "Completed" then
  return {status = "Healthy", message = "no fire time is left"}
end
if status.nextScheduleTime ~= nil then
  return {status = "Healthy", message = "next at " .. status.nextScheduleTime}
end
return {status = "Healthy", message = ready.message}
