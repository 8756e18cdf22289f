{{/* The name of all objects: release and chart, or what fullnameOverride says. */}}
{{- define "pdm.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the pods are found by; never changes in the life of a release. */}}
{{- define "pdm.selectorLabels" -}}
app.kubernetes.io/name: pool-domain-manager
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pdm.labels" -}}
{{ include "pdm.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The pods that serve, as against those of helm test. */}}
{{- define "pdm.serverLabels" -}}
{{ include "pdm.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "pdm.serviceAccountName" -}}
{{- default (include "pdm.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Where the service is asked within the cluster. */}}
{{- define "pdm.url" -}}
{{ include "pdm.scheme" . }}://{{ include "pdm.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end -}}

{{- define "pdm.scheme" -}}
{{ ternary "https" "http" (not (empty .Values.tls.existingSecret)) }}
{{- end -}}

{{- define "pdm.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "pdm.cluster" -}}
{{- default (printf "%s-pg" (include "pdm.fullname" .)) .Values.database.cnpg.name -}}
{{- end -}}

{{/* The Secret and the CA of the database, as a dict: secret, keys, ca (Secret and key, or nothing). */}}
{{- define "pdm.database" -}}
{{- if .Values.database.cnpg.create -}}
{{- $cluster := include "pdm.cluster" . -}}
{{- $keys := dict "host" "host" "port" "port" "dbname" "dbname" "username" "username" "password" "password" -}}
{{- dict "secret" (printf "%s-app" $cluster) "keys" $keys "ca" (dict "name" (printf "%s-ca" $cluster) "key" "ca.crt") | toYaml -}}
{{- else -}}
{{- $external := .Values.database.external -}}
{{- dict "secret" $external.existingSecret "keys" $external.keys "ca" $external.caSecret | toYaml -}}
{{- end -}}
{{- end -}}

{{- define "pdm.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "pdm.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Rules of egress to the cluster's resolvers, and to its API server. */}}
{{- define "pdm.toResolvers" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  to:
    {{- toYaml .Values.networkPolicy.resolversTo | nindent 4 }}
{{- end -}}

{{- define "pdm.toApiServer" -}}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.apiServerTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
