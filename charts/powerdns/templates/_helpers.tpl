{{- define "powerdns.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels that select the pods of a component: (list . "dnsdist"). */}}
{{- define "powerdns.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ default $.Chart.Name $.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "powerdns.labels" -}}
{{- $ := index . 0 -}}
{{ include "powerdns.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "powerdns.image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}

{{/* What all pods have: (list . uid). */}}
{{- define "powerdns.pod" -}}
{{- $ := index . 0 -}}
serviceAccountName: {{ include "powerdns.fullname" $ }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 1 }}
  fsGroup: {{ index . 1 }}
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "powerdns.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where pods are placed: (list . component values). */}}
{{- define "powerdns.placement" -}}
{{- $values := index . 2 -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "powerdns.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* A replica is replaced only when its successor answers. */}}
{{- define "powerdns.rolling" -}}
strategy:
  type: RollingUpdate
  rollingUpdate:
    maxUnavailable: 0
    maxSurge: 1
{{- end -}}

{{/* The probes ask for a connection to the DNS port: an answer would depend on the database, and an outage of that
must not take all replicas out of service at once; the API's port is slow when many names are published. The argument
is after how many seconds they begin. */}}
{{- define "powerdns.probes" -}}
startupProbe:
  tcpSocket: {port: dns-tcp}
  initialDelaySeconds: {{ . }}
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  tcpSocket: {port: dns-tcp}
  periodSeconds: 5
livenessProbe:
  tcpSocket: {port: dns-tcp}
  periodSeconds: 10
  failureThreshold: 6
{{- end -}}

{{- define "powerdns.preStop" -}}
{{- if .Values.preStopSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .Values.preStopSeconds }}
{{- end }}
{{- end -}}

{{- define "powerdns.cluster" -}}
{{ include "powerdns.fullname" . }}-db
{{- end -}}

{{/* libpq's environment, for PowerDNS and psql alike: (list . "rw"), or "pooler" where there is one. */}}
{{- define "powerdns.databaseEnv" -}}
{{- $ := index . 0 -}}
{{- $database := $.Values.database -}}
{{- $pooled := and (eq (index . 1) "pooler") $database.pooler.enabled -}}
{{- $secret := $database.external.existingSecret -}}
{{- $keys := $database.external.keys -}}
{{- $verified := not (empty $database.external.caSecret) -}}
{{- if $database.cnpg.create -}}
{{- $secret = printf "%s-app" (include "powerdns.cluster" $) -}}
{{- $keys = dict "host" "host" "port" "port" "dbname" "dbname" "username" "username" "password" "password" -}}
{{- $verified = true -}}
{{- end -}}
{{- $mode := default (ternary (ternary "verify-ca" "verify-full" $pooled) "require" $verified) $database.sslMode -}}
{{- $from := dict "PGHOST" $keys.host "PGPORT" $keys.port "PGDATABASE" $keys.dbname "PGUSER" $keys.username -}}
{{- if $pooled -}}
{{- $from = omit $from "PGHOST" "PGPORT" }}
- name: PGHOST
  value: {{ include "powerdns.cluster" $ }}-pooler
- name: PGPORT
  value: "5432"
{{- end }}
{{- range $name, $key := $from }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $key }}
{{- end }}
- name: PGPASSFILE
  value: /var/run/pdns/pgpass
- name: PGSSLMODE
  value: {{ $mode }}
{{- if $verified }}
- name: PGSSLROOTCERT
  value: /etc/postgresql-ca/ca.crt
{{- end }}
{{- end -}}

{{/* Shell lines that hand libpq the password: it takes a file that is its account's alone, which no volume of a Secret is. */}}
{{- define "powerdns.databasePassword" -}}
umask 077
{ printf '*:*:*:*:'; sed 's/[\\:]/\\&/g' /etc/powerdns-database/password; echo; } >/var/run/pdns/pgpass
{{- end -}}

{{- define "powerdns.databaseMounts" -}}
- {name: database, mountPath: /etc/powerdns-database, readOnly: true}
- {name: run, mountPath: /var/run/pdns}
{{- if or .Values.database.cnpg.create .Values.database.external.caSecret }}
- name: database-ca
  mountPath: /etc/postgresql-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "powerdns.databaseVolumes" -}}
{{- $external := .Values.database.external -}}
{{- $created := .Values.database.cnpg.create }}
- name: database
  secret:
    secretName: {{ ternary (printf "%s-app" (include "powerdns.cluster" .)) $external.existingSecret $created }}
    defaultMode: 0440
    items:
      - key: {{ ternary "password" $external.keys.password $created }}
        path: password
- name: run
  # In memory, because secrets are in it.
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- if or .Values.database.cnpg.create $external.caSecret }}
- name: database-ca
  secret:
    secretName: {{ ternary (printf "%s-ca" (include "powerdns.cluster" .)) $external.caSecret .Values.database.cnpg.create }}
    items:
      - key: {{ ternary "ca.crt" $external.caKey .Values.database.cnpg.create }}
        path: ca.crt
{{- end }}
{{- end -}}

{{/* What no schema of one value can see. */}}
{{- define "powerdns.validate" -}}
{{- $database := .Values.database -}}
{{- if and (not $database.cnpg.create) (not $database.external.existingSecret) -}}
{{- fail "database.external.existingSecret must be given when database.cnpg.create is false" -}}
{{- end -}}
{{- if and $database.cnpg.create $database.external.existingSecret -}}
{{- fail "database.external.existingSecret is given: set database.cnpg.create to false, or leave it out" -}}
{{- end -}}
{{- if and $database.pooler.enabled (not $database.cnpg.create) -}}
{{- fail "database.pooler.enabled needs database.cnpg.create: a Pooler stands before a Cluster" -}}
{{- end -}}
{{- if and $database.cnpg.scheduledBackup.enabled (not $database.cnpg.create) -}}
{{- fail "database.cnpg.scheduledBackup.enabled needs database.cnpg.create" -}}
{{- end -}}
{{- if and (hasPrefix "verify-" $database.sslMode) (not $database.cnpg.create) (not $database.external.caSecret) -}}
{{- fail (printf "database.sslMode %s needs database.external.caSecret" $database.sslMode) -}}
{{- end -}}
{{- end -}}
