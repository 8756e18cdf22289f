{{- define "powerdns.pdns.conf" -}}
daemon=no
guardian=no
disable-syslog=yes
write-pid=no
socket-dir=/var/run/pdns
# The API key, which the container writes there before it starts PowerDNS.
include-dir=/var/run/pdns

local-address={{ join "," .Values.listen }}
local-port={{ .Values.dnsPort }}

launch=gpgsql
gpgsql-dnssec=yes
# The connection is not told here: libpq takes it from PGHOST, PGPASSWORD and so on. A database that is gone without a word would be waited for a quarter of an hour.
gpgsql-extra-connection-parameters=connect_timeout=5 keepalives_idle=10 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=15000
{{- if .Values.database.pooler.enabled }}
# In transaction mode each statement may reach another connection.
gpgsql-prepared-statements=no
{{- end }}

api=yes
webserver=yes
webserver-address={{ first .Values.listen }}
webserver-port={{ .Values.api.port }}
webserver-allow-from={{ join "," .Values.api.allowFrom }}

{{ range $name, $value := .Values.config -}}
{{ $name }}={{ if kindIs "float64" $value }}{{ int64 $value }}{{ else }}{{ $value }}{{ end }}
{{ end -}}
{{- end -}}
