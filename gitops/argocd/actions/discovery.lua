-- Which actions a ScheduledJob offers: what `scheduledjobs run-now`, `pause` and `resume` would take.
local annotations = obj.metadata.annotations or {}
local status = obj.status or {}
local token = annotations["scheduledjobs.dev/run-now"]
local is_paused = annotations["scheduledjobs.dev/paused-until"] ~= nil
return {
  ["run"] = {
    ["displayName"] = "Run now",
    ["iconClass"] = "fa fa-fw fa-play",
    ["disabled"] = token ~= nil and token ~= status.lastHandledRunNow
  },
  ["pause"] = {
    ["displayName"] = "Pause",
    ["iconClass"] = "fa fa-fw fa-pause",
    ["disabled"] = is_paused
  },
  ["resume"] = {
    ["displayName"] = "Resume",
    ["iconClass"] = "fa fa-fw fa-forward",
    ["disabled"] = not is_paused or obj.spec.suspend == true
  }
}
