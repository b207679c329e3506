{{/* The name that all objects of this release begin with. */}}
{{- define "llmfleet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The operator's Deployment, Service, roles, Lease. */}}
{{- define "llmfleet.operator" -}}
{{ include "llmfleet.fullname" . }}-operator
{{- end -}}

{{- define "llmfleet.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "llmfleet.operator" .) }}
{{- else -}}
{{ required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* Selector labels: a Deployment's can never be changed, so these may not either. */}}
{{- define "llmfleet.selector" -}}
app.kubernetes.io/name: llmfleet
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "llmfleet.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "llmfleet.selector" . }}
{{- end -}}

{{- define "llmfleet.image" -}}
{{- $name := printf "%s/%s" .Values.image.registry .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $name }}@{{ .Values.image.digest }}
{{- else -}}
{{ $name }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What the operator may do where it looks after LLMDeployments: the verbs that it uses, and no others. */}}
{{- define "llmfleet.rules" -}}
- apiGroups: [llmfleet.dev]
  resources: [llmdeployments]
  verbs: [get, list, watch]
- apiGroups: [llmfleet.dev]
  resources: [llmdeployments/status]
  verbs: [patch]
# No request is made with it: clusters that enforce owner references ask whether the owner's deletion may be blocked.
- apiGroups: [llmfleet.dev]
  resources: [llmdeployments/finalizers]
  verbs: [update]
# Server-side apply is `patch`, and `create` where there is no object yet.
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Listed for single pods whose volumes do not come: why, only their Events say.
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, create, patch]
{{- end -}}
