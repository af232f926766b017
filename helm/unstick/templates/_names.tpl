{{/* What every object of a release is called. Cut so that the longest suffix still fits a name. */}}
{{- define "unstick.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* ClusterRoles have no namespace: two releases of one name in two namespaces must not share one. */}}
{{- define "unstick.clusterName" -}}
{{ printf "%s:%s" .Release.Namespace (include "unstick.name" .) }}
{{- end }}

{{- define "unstick.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "unstick.labels" -}}
{{ include "unstick.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "unstick.runbooksFolder" -}}
/etc/unstick-runbooks
{{- end }}

{{/* Whether the state is on a PostgreSQL server, in any spelling that Unstick takes: then no volume holds it. */}}
{{- define "unstick.onServer" -}}
{{- if regexMatch "^postgres(ql(\\+psycopg)?)?://" (toString .Values.config.state) }}true{{ end -}}
{{- end }}

{{/* Whether there may be several replicas: not on SQLite, nor where config says that there is never more than one. */}}
{{- define "unstick.several" -}}
{{- $alone := and (hasKey .Values.config "leader") (kindIs "invalid" .Values.config.leader) -}}
{{- if and (include "unstick.onServer" .) (not $alone) }}true{{ end -}}
{{- end }}

{{/* The Lease by which several agree who leads; by default of the release's name, as two releases must not share one. */}}
{{- define "unstick.leader" -}}
{{ merge (dict) (default dict .Values.config.leader) (dict "lease" (include "unstick.name" .)) | toYaml }}
{{- end }}

{{/* The HTTP server's settings, reachable from outside of the pod unless config says otherwise; nothing where there is none. */}}
{{- define "unstick.http" -}}
{{- if not (and (hasKey .Values.config "http") (kindIs "invalid" .Values.config.http)) -}}
{{ merge (dict) (default dict .Values.config.http) (dict "host" "0.0.0.0" "port" 8080) | toYaml }}
{{- end -}}
{{- end }}

{{- define "unstick.port" -}}
{{ (include "unstick.http" . | fromYaml).port }}
{{- end }}

{{/* "http" where Slack sends signed requests, else "socket". */}}
{{- define "unstick.slackMode" -}}
{{ default "socket" (default dict .Values.config.slack).mode }}
{{- end }}

{{/* unstick.yaml: the values' config, with what a pod needs where it does not say otherwise, and the mounted runbooks. */}}
{{- define "unstick.config" -}}
{{- $config := merge (deepCopy .Values.config) (dict "state" "/var/lib/unstick/state.db") -}}
{{- if include "unstick.http" . -}}
{{- $_ := set $config "http" (include "unstick.http" . | fromYaml) -}}
{{- end -}}
{{- if include "unstick.several" . -}}
{{- $_ := set $config "leader" (include "unstick.leader" . | fromYaml) -}}
{{- end -}}
{{- if .Values.runbooks -}}
{{- $_ := set $config "runbooks" (append (default list $config.runbooks) (include "unstick.runbooksFolder" . | trim)) -}}
{{- end -}}
{{ $config | toYaml }}
{{- end }}
