-- End a pause: the annotations go.
if obj.spec.suspend == true then
  error("SuspendedBySpec: spec.suspend is true in the manifest: set it to false there")
end
local annotations = obj.metadata.annotations or {}
annotations["scheduledjobs.dev/paused-until"] = nil
annotations["scheduledjobs.dev/paused-by"] = nil
annotations["scheduledjobs.dev/pause-reason"] = nil
-- Argo CD reads an empty table as an empty list and would put back the old annotations: none at all takes them away.
if next(annotations) == nil then
  annotations = nil
end
obj.metadata.annotations = annotations
return obj
