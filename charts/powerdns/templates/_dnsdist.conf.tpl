{{- define "powerdns.dnsdist.conf" -}}
{{- $dnsdist := .Values.dnsdist -}}
{{- range $index, $address := .Values.listen }}
{{ ternary "setLocal" "addLocal" (eq $index 0) }}('{{ if contains ":" $address }}[{{ $address }}]{{ else }}{{ $address }}{{ end }}:{{ $dnsdist.dnsPort }}')
{{- end }}
-- Everybody may ask an authoritative server; by default only private networks may.
setACL({'0.0.0.0/0', '::/0'})
setSecurityPollSuffix('')
{{- if $dnsdist.maxTCPConnectionsPerClient }}
setMaxTCPConnectionsPerClient({{ $dnsdist.maxTCPConnectionsPerClient }})
{{- end }}

-- dnsdist takes no names, so the one of PowerDNS's Service is looked up here, once: its address stays as long as
-- the Service does, while those of pods come and go.
local backend = '{{ include "powerdns.fullname" . }}-backend.{{ .Release.Namespace }}.svc'
local lookup = io.popen('getent ahosts ' .. backend)
local address = lookup:read('*l')
lookup:close()
address = address and address:match('^%S+') or error(backend .. ' has no address')
if address:find(':') then address = '[' .. address .. ']' end

newServer{
  name='powerdns',
  address=address .. ':{{ .Values.dnsPort }}',
  -- One socket would be bound to one replica by the Service's connection tracking.
  sockets=16,
  -- What PowerDNS answers out of itself, without a look into the database.
  checkName='id.server.', checkType='TXT', checkClass=DNSClass.CHAOS,
  checkInterval=1, checkTimeout=1000,
  -- One replica of several may be missing without the Service being down.
  maxCheckFailures=5, rise=1,
}
-- Resolvers then try another nameserver at once, where silence would have them wait.
setServFailWhenNoServer(true)

{{- with $dnsdist.rateLimit }}
{{- if .qps }}

local exempt = newNMG()
{{- range .exempt }}
exempt:addMask('{{ . }}')
{{- end }}
addAction(
  AndRule{TCPRule(false), NotRule(NetmaskGroupRule(exempt)), MaxQPSIPRule({{ .qps }}, 32, 64, {{ .burst }})},
  TCAction()
)
{{- end }}
{{- end }}

{{- with $dnsdist.packetCache }}
{{- if .entries }}

getPool(''):setCache(newPacketCache({{ int64 .entries }}, {maxTTL={{ .maxTTL }}, maxNegativeTTL={{ .maxTTL }}}))
{{- end }}
{{- end }}

-- Without a password or an API key all but the metrics is closed.
webserver('{{ with first .Values.listen }}{{ if contains ":" . }}[{{ . }}]{{ else }}{{ . }}{{ end }}{{ end }}:{{ $dnsdist.metricsPort }}')
setWebserverConfig({statsRequireAuthentication=false, acl='0.0.0.0/0, ::/0'})
{{- with $dnsdist.extraConfig }}

{{ . }}
{{- end }}
{{- end -}}
