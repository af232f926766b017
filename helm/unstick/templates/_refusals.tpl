{{/* Values that fit the schema and yet cannot work, each with the next move. */}}
{{- define "unstick.refusals" -}}
{{- $config := toYaml .Values.config -}}
{{- $kubeconfig := "/etc/unstick-remediate/kubeconfig" -}}
{{- if not .Values.image.repository }}
{{- fail "image.repository is not set: Unstick publishes no image, so build one that has `unstick` on its PATH and name it." }}
{{- end }}
{{- $replicas := int .Values.replicas }}
{{- if and (gt $replicas 1) (not (include "unstick.onServer" .)) }}
{{- fail (printf "replicas is %d, but the state is an SQLite file, which one pod alone may use: set `state: postgresql://NAME@HOST/DATABASE` in config, or 1 replica (0 to pause)." $replicas) }}
{{- end }}
{{- if and (gt $replicas 1) (not (include "unstick.several" .)) }}
{{- fail (printf "replicas is %d, but config says `leader: null`, and several replicas agree by a Lease on who leads: take that out, or set 1 replica (0 to pause)." $replicas) }}
{{- end }}
{{- $byHttp := eq (include "unstick.slackMode" .) "http" }}
{{- $sockets := int (default 2 (default dict .Values.config.slack).connections) }}
{{- if and (not $byHttp) (gt (mul $replicas $sockets) 10) }}
{{- fail (printf "replicas is %d, each with %d sockets to Slack, which allows 10 for the whole app: set `slack: {connections: 1}` or `slack: {mode: http}` in config, or fewer replicas." $replicas $sockets) }}
{{- end }}
{{- if not .Values.slack.existingSecret }}
{{- fail (printf "slack.existingSecret is not set: create a Secret with SLACK_BOT_TOKEN and %s, and name it." (ternary "SLACK_SIGNING_SECRET" "SLACK_APP_TOKEN" $byHttp)) }}
{{- end }}
{{- $http := include "unstick.http" . }}
{{- if and $http (has (toString ($http | fromYaml).host) (list "127.0.0.1" "localhost" "::1")) }}
{{- fail "config.http.host lets nothing reach the pod, not even its probes: take it out, or set `http: null` for no HTTP at all." }}
{{- end }}
{{- if not $http }}
{{- if $byHttp }}
{{- fail "config has `slack: {mode: http}` and `http: null`, so that nothing would listen to Slack: take one of them out." }}
{{- end }}
{{- range $name, $wanted := dict "ingress.enabled" .Values.ingress.enabled "metrics.scrapeAnnotations" .Values.metrics.scrapeAnnotations "metrics.serviceMonitor" .Values.metrics.serviceMonitor "alertmanager.existingSecret" .Values.alertmanager.existingSecret }}
{{- if $wanted }}
{{- fail (printf "%s is set, but config says `http: null`, so that nothing listens: take one of them out." $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.enabled needs ingress.host: set the name at which Slack or Alertmanager reaches it." }}
{{- end }}
{{- if regexMatch "xox[a-z]-|xapp-|://[^/@\\s]*:[^/@\\s]*@" $config }}
{{- fail "config holds a Slack token or a password: it becomes a ConfigMap, which is no place for one; use a Secret." }}
{{- end }}
{{- if regexMatch "xox[a-z]-|xapp-|://[^/@\\s]*:[^/@\\s]*@" (toYaml .Values.runbooks) }}
{{- fail "runbooks holds a Slack token or a password: it becomes a ConfigMap, which is no place for one; take it out." }}
{{- end }}
{{- if and .Values.database.existingSecret (not (include "unstick.onServer" .)) }}
{{- fail "database.existingSecret is for a state on PostgreSQL, but config names none: set `state: postgresql://NAME@HOST/DATABASE`." }}
{{- end }}
{{- if and .Values.persistence.existingClaim (include "unstick.onServer" .) }}
{{- fail "persistence.existingClaim is for an SQLite file, but config's state is on PostgreSQL: take one of them out." }}
{{- end }}
{{- if and .Values.ceph.existingSecret (not (contains "/etc/ceph/" $config)) }}
{{- fail "ceph.existingSecret is mounted at /etc/ceph, but config does not use it: set `ceph: {conf: /etc/ceph/ceph.conf, user: client.NAME}` for a cluster." }}
{{- end }}
{{- range $name, $cluster := .Values.config.clusters }}
{{- if and (or $cluster.ceph $cluster.cephs) (not $.Values.ceph.existingSecret) }}
{{- fail (printf "config.clusters.%s names a Ceph, but ceph.existingSecret is not set: create a Secret with its ceph.conf and keyrings, and name it." $name) }}
{{- end }}
{{- end }}
{{- if and .Values.remediate.impersonate (not .Values.remediate.createRole) }}
{{- fail "remediate.impersonate adds a rule to the role that remediate.createRole makes: set that too, or grant `impersonate` on users yourself." }}
{{- end }}
{{- if and .Values.remediate.enabled (not .Values.remediate.kubeconfigSecret) }}
{{- fail "remediate.enabled needs remediate.kubeconfigSecret: name a Secret with the key `kubeconfig`." }}
{{- end }}
{{- if and .Values.remediate.enabled (not (contains $kubeconfig $config)) }}
{{- fail (printf "remediate.enabled, but config does not use it: set `kubernetes: {remediate_kubeconfig: %s}` for a cluster." $kubeconfig) }}
{{- end }}
{{- if and (not .Values.remediate.enabled) (or .Values.remediate.kubeconfigSecret (contains $kubeconfig $config)) }}
{{- fail "A kubeconfig to remediate with is named, but remediate.enabled is off: set it, or take the kubeconfig out." }}
{{- end }}
{{- end }}
