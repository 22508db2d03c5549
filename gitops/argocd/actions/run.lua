-- Run once, now: a new token in the annotation is one run. There is room for one request at a time.
local os = require("os")
local annotations = obj.metadata.annotations or {}
local token = annotations["scheduledjobs.dev/run-now"]
local handled = obj.status ~= nil and obj.status.lastHandledRunNow or nil
if token ~= nil and token ~= handled then
  error("RunRequestPending: the request " .. token .. " is not recorded yet")
end
annotations["scheduledjobs.dev/run-now"] = "argocd-" .. tostring(os.time())
annotations["scheduledjobs.dev/run-now-payload"] = nil
obj.metadata.annotations = annotations
return obj
