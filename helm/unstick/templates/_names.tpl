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

{{/* unstick.yaml: the values' config, with the state in the volume unless it says otherwise, and the mounted runbooks. */}}
{{- define "unstick.config" -}}
{{- $config := merge (deepCopy .Values.config) (dict "state" "/var/lib/unstick/state.db") -}}
{{- if .Values.runbooks -}}
{{- $_ := set $config "runbooks" (append (default list $config.runbooks) (include "unstick.runbooksFolder" . | trim)) -}}
{{- end -}}
{{ $config | toYaml }}
{{- end }}
