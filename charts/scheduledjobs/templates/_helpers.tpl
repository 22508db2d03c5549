{{- define "scheduledjobs.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Services are named after it, and their names have no dot, nor begin with a digit before Kubernetes 1.36. */}}
{{- define "scheduledjobs.fullname" -}}
{{- $name := printf "%s-%s" .Release.Name (include "scheduledjobs.name" .) }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if contains (include "scheduledjobs.name" .) .Release.Name }}
{{- $name = .Release.Name }}
{{- end }}
{{- $name = $name | trunc 52 | trimSuffix "-" }}
{{- if or .Values.web.enabled .Values.demoPostgres.enabled (include "scheduledjobs.hasServiceMonitor" .) }}
{{- $first := semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version | ternary "[a-z0-9]" "[a-z]" }}
{{- if not (regexMatch (printf "^%s([a-z0-9-]*[a-z0-9])?$" $first) $name) }}
{{- fail (printf "no Service may be named %s, after this release: set fullnameOverride to a name of lower-case letters, digits and hyphens that begins with a letter" $name) }}
{{- end }}
{{- end }}
{{- $name }}
{{- end }}

{{- define "scheduledjobs.releaseLabels" -}}
app.kubernetes.io/name: {{ include "scheduledjobs.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "scheduledjobs.selectorLabels" -}}
{{ include "scheduledjobs.releaseLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "scheduledjobs.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/name: {{ include "scheduledjobs.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: scheduledjobs
{{- end }}

{{- define "scheduledjobs.labels" -}}
{{ include "scheduledjobs.commonLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "scheduledjobs.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "scheduledjobs.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "scheduledjobs.hasServiceMonitor" -}}
{{- if and .Values.monitoring.enabled (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/ServiceMonitor") }}true{{ end }}
{{- end }}

{{- define "scheduledjobs.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* At most 52 characters: the pods of a StatefulSet have a label with its name and a hash, of 63 at most. */}}
{{- define "scheduledjobs.demoPostgresName" -}}
{{ include "scheduledjobs.fullname" . | trunc 43 | trimSuffix "-" }}-postgres
{{- end }}

{{- define "scheduledjobs.databaseSecret" -}}
{{- if .Values.demoPostgres.enabled }}
{{- if .Values.database.existingSecret }}
{{- fail "set one of database.existingSecret and demoPostgres.enabled, not both" }}
{{- end }}
{{- include "scheduledjobs.demoPostgresName" . }}
{{- else }}
{{- required "set database.existingSecret to a Secret that holds the address of your PostgreSQL under the key uri (or demoPostgres.enabled=true, to try)" .Values.database.existingSecret }}
{{- end }}
{{- end }}

{{- define "scheduledjobs.databaseEnv" -}}
- name: SCHEDULEDJOBS_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "scheduledjobs.databaseSecret" . | quote }}
      key: {{ ternary "uri" .Values.database.key .Values.demoPostgres.enabled | quote }}
{{- if .Values.database.caSecret.name }}
{{- if .Values.demoPostgres.enabled }}
{{- fail "database.caSecret is for a database of yours: demoPostgres has no TLS" }}
{{- end }}
- name: PGSSLROOTCERT
  value: /etc/scheduledjobs/database-ca/ca.crt
{{- end }}
{{- end }}

{{/* For every container that has databaseEnv. Whatever the key is called, the file is ca.crt. */}}
{{- define "scheduledjobs.databaseMount" -}}
- {name: database-ca, mountPath: /etc/scheduledjobs/database-ca, readOnly: true}
{{- end }}

{{- define "scheduledjobs.databaseVolume" -}}
- name: database-ca
  secret:
    secretName: {{ .Values.database.caSecret.name | quote }}
    items: [{key: {{ .Values.database.caSecret.key | quote }}, path: ca.crt}]
{{- end }}

{{- define "scheduledjobs.noticesEnv" -}}
{{- with .Values.notices.webhooks.existingSecret -}}
- name: SCHEDULEDJOBS_WEBHOOKS
  valueFrom:
    secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.notices.webhooks.key | quote }}}
{{- else }}
{{- if .Values.notices.rules }}
{{- fail "notices.rules need notices.webhooks.existingSecret, a Secret with the webhooks that they name" }}
{{- end }}
{{- end }}
{{- with .Values.notices.rules }}
- name: SCHEDULEDJOBS_NOTICES
  value: {{ toJson . | quote }}
{{- end }}
{{- with .Values.web.publicUrl }}
- name: SCHEDULEDJOBS_PUBLIC_URL
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "scheduledjobs.webPort" -}}
{{- if eq (int .Values.web.port) (int .Values.metrics.port) }}
{{- fail "web.port and metrics.port must be two ports" }}
{{- end }}
{{- .Values.web.port }}
{{- end }}

{{/* What the operator is told of its credentials: names and places, no value. Empty where there are none. */}}
{{- define "scheduledjobs.credentials" -}}
{{- $given := dict }}
{{- range .Values.credentials }}
{{- if hasKey $given .name }}
{{- fail (printf "credentials: two are named %s" .name) }}
{{- end }}
{{- $one := dict "namespaces" .namespaces }}
{{- if .existingSecret }}{{ $_ := set $one "path" (printf "/etc/scheduledjobs/credentials/%s" .name) }}{{ end }}
{{- with .hosts }}{{ $_ := set $one "hosts" . }}{{ end }}
{{- with .secret }}{{ $_ := set $one "secret" . }}{{ end }}
{{- $_ := set $given .name $one }}
{{- end }}
{{- if $given }}{{ toJson $given }}{{ end }}
{{- end }}

{{/* Restricted, as the Pod Security Standards have it. */}}
{{- define "scheduledjobs.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "scheduledjobs.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where each pod of the release may run. Affinity is the operator's own. */}}
{{- define "scheduledjobs.scheduling" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "scheduledjobs.jobRules" }}
- apiGroups: [scheduledjobs.dev]
  resources: [scheduledjobs]
  verbs: [get, list, watch]
- apiGroups: [scheduledjobs.dev]
  resources: [scheduledjobs/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- if .Values.kubernetesJob.enabled }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, list, watch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}
{{- end }}

{{- define "scheduledjobs.bindTo" }}
subjects:
- kind: ServiceAccount
  name: {{ .account | quote }}
  namespace: {{ .namespace | quote }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind | quote }}
  name: {{ .role | quote }}
{{- end }}
