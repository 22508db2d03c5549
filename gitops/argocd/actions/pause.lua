-- Pause until somebody resumes: an annotation that no sync undoes; spec.suspend stays the manifest's.
local annotations = obj.metadata.annotations or {}
annotations["scheduledjobs.dev/paused-until"] = "forever"
annotations["scheduledjobs.dev/paused-by"] = "argocd"
annotations["scheduledjobs.dev/pause-reason"] = nil
obj.metadata.annotations = annotations
return obj
