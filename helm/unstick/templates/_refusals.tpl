{{/* Values that fit the schema and yet cannot work, each with the next move. */}}
{{- define "unstick.refusals" -}}
{{- $config := toYaml .Values.config -}}
{{- $kubeconfig := "/etc/unstick-remediate/kubeconfig" -}}
{{- if not .Values.image.repository }}
{{- fail "image.repository is not set: Unstick publishes no image, so build one that has `unstick` on its PATH and name it." }}
{{- end }}
{{- if gt (int .Values.replicas) 1 }}
{{- fail (printf "replicas is %d: one pod alone does the work and keeps Slack; set 1, or 0 to pause." (int .Values.replicas)) }}
{{- end }}
{{- if not .Values.slack.existingSecret }}
{{- fail "slack.existingSecret is not set: create a Secret with SLACK_BOT_TOKEN and SLACK_APP_TOKEN, and name it." }}
{{- end }}
{{- if regexMatch "xox[a-z]-|xapp-|://[^/@\\s]*:[^/@\\s]*@" $config }}
{{- fail "config holds a Slack token or a password: it becomes a ConfigMap, which is no place for one; use a Secret." }}
{{- end }}
{{- if regexMatch "xox[a-z]-|xapp-|://[^/@\\s]*:[^/@\\s]*@" (toYaml .Values.runbooks) }}
{{- fail "runbooks holds a Slack token or a password: it becomes a ConfigMap, which is no place for one; take it out." }}
{{- end }}
{{- if and .Values.database.existingSecret (not (hasPrefix "postgres" (toString .Values.config.state))) }}
{{- fail "database.existingSecret is for a state on PostgreSQL, but config names none: set `state: postgresql://NAME@HOST/DATABASE`." }}
{{- end }}
{{- if and .Values.ceph.existingSecret (not (contains "/etc/ceph/" $config)) }}
{{- fail "ceph.existingSecret is mounted at /etc/ceph, but config does not use it: set `ceph: {conf: /etc/ceph/ceph.conf, user: client.NAME}` for a cluster." }}
{{- end }}
{{- range $name, $cluster := .Values.config.clusters }}
{{- if and $cluster.ceph (not $.Values.ceph.existingSecret) }}
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
