"""The only reader of the environment. Reports every fault at once."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import get_args

import msgspec

from adapters.all import OURS, UnusableAdapterError, entries
from pdm_service import callers, tls
from pdm_service.model.allocation import Ages
from pdm_service.model.records import Nameserver
from pdm_service.names import policy
from pdm_service.names.policy import Confusables
from pdm_service.settings import values

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
# https://www.internic.net/domain/named.root
_IANA_ROOT = """
a.root-servers.net=198.41.0.4 a.root-servers.net=2001:503:ba3e::2:30 b.root-servers.net=170.247.170.2
b.root-servers.net=2801:1b8:10::b c.root-servers.net=192.33.4.12 c.root-servers.net=2001:500:2::c
d.root-servers.net=199.7.91.13 d.root-servers.net=2001:500:2d::d e.root-servers.net=192.203.230.10
e.root-servers.net=2001:500:a8::e f.root-servers.net=192.5.5.241 f.root-servers.net=2001:500:2f::f
g.root-servers.net=192.112.36.4 g.root-servers.net=2001:500:12::d0d h.root-servers.net=198.97.190.53
h.root-servers.net=2001:500:1::53 i.root-servers.net=192.36.148.17 i.root-servers.net=2001:7fe::53
j.root-servers.net=192.58.128.30 j.root-servers.net=2001:503:c27::2:30 k.root-servers.net=193.0.14.129
k.root-servers.net=2001:7fd::1 l.root-servers.net=199.7.83.42 l.root-servers.net=2001:500:9f::42
m.root-servers.net=202.12.27.33 m.root-servers.net=2001:dc3::35
"""


class SettingsError(Exception):
    """Settings that the service cannot start with; one line a fault, each naming the variable."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of the service."""

    host: str
    port: int
    tls_cert_file: Path | None
    """None: connections are not encrypted."""
    tls_key_file: Path | None
    tls_client_ca_file: Path | None
    """The CAs of clients that have a certificate; they are asked for it."""
    database_url: str
    database_connections: int
    pdns_base_url: str
    pdns_api_key: str
    pdns_ca_file: Path | None
    """None: its certificate is of a CA that everybody trusts."""
    pdns_server_id: str
    pdns_concurrency: int
    """Calls in flight to PowerDNS; its listen backlog is 10."""
    pool_domains: tuple[str, ...]
    """Sorted."""
    nameservers: tuple[str, ...]
    nameserver_addresses: tuple[Nameserver, ...]
    reservation_ttl: timedelta
    ages: Ages
    limits: callers.Limits
    reconcile_interval: timedelta
    audit_interval: timedelta
    look_interval: timedelta
    audit_rate: int
    keep_strays: bool
    """Whether delegations without an allocation are left alone: for the time after a restore of the database."""
    lease: timedelta
    """How long a publisher may work on a name before another takes it over."""
    drain: timedelta
    """How long a stopping service waits for requests in flight."""
    log_level: str
    registrar_urls: dict[str, str]
    """Of those registrars that are asked elsewhere than at their own address."""
    registrar_options: dict[str, dict[str, str | None]]
    """What only some registrars have, by their name (`adapters.all`)."""
    pool_registrar: str | None
    pool_registrar_token: str | None
    pool_ds_delay: timedelta
    """How long after a change of a pool domain's nameservers its DS is published."""

    root_hints: tuple[Nameserver, ...]
    """Where the way down to a delegation begins; empty: delegations are not observed."""
    dns_port: int
    dns_addresses: tuple[Nameserver, ...]
    """Stand for what their names would resolve to."""
    dns_allow_private: bool
    """Whether nameservers at addresses that are not public are asked."""
    delegation_interval: timedelta
    """The pause between the first observations of a delegation."""
    clock_ahead: timedelta
    """How far ahead of the database's clock delegations are judged."""
    rdap_url: str | None
    """Empty: no registry is asked. None: the registry's own, as IANA lists it."""
    acme_issuers: tuple[str, ...]
    """The CAs, by their names in CAA, that the platform gets its certificates from."""

    auth_tokens_file: Path | None
    """The clients and their scopes."""
    anonymous: bool
    """Whether the compatibility routes for pools are open to callers without a credential."""
    kubernetes_url: str | None
    """The API server that knows the account of a ServiceAccount token."""
    kubernetes_token_file: Path
    kubernetes_ca_file: Path | None
    policy_file: Path | None
    """The deployment's own reserved words and brands."""
    confusables: Confusables
    quarantine: timedelta
    """How long a released name is kept for its last holder."""
    events_kept: timedelta
    """How long the audit trail is kept."""
    otlp_url: str | None
    """Where traces are sent, by OTLP over HTTP."""

    def __repr__(self) -> str:
        """Show nothing: a repr ends up in logs, and three fields are secrets."""
        return "Settings()"


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings; raises SettingsError."""
    reader = _Reader(environment)
    registrars = OURS
    try:
        registrars = entries()
    except UnusableAdapterError as error:
        reader.faults += str(error).splitlines()
    closed = any(environment.get(name) for name in ("PDM_AUTH_TOKENS_FILE", "PDM_ANONYMOUS"))
    host = reader.get("PDM_HOST", "127.0.0.1", values.host if closed else values.loopback)
    settings = {
        "host": host,
        "port": reader.get("PORT", "8080", values.port),
        "tls_cert_file": reader.get("PDM_TLS_CERT_FILE", "", values.maybe_file(str)),
        "tls_key_file": reader.get("PDM_TLS_KEY_FILE", "", values.maybe_file(str)),
        "tls_client_ca_file": reader.get("PDM_TLS_CLIENT_CA_FILE", "", values.maybe_file(str)),
        "database_url": reader.get("PDM_DATABASE_URL", None, values.database_url),
        "database_password": reader.get("PDM_DATABASE_PASSWORD", "", values.Secret),
        "database_connections": reader.get("PDM_DATABASE_CONNECTIONS", "12", values.count),
        "pdns_base_url": reader.get("PDM_PDNS_BASE_URL", None, values.http_url),
        "pdns_api_key": reader.get("PDM_PDNS_API_KEY", None, values.secret_header),
        "pdns_ca_file": reader.get("PDM_PDNS_CA_FILE", "", values.maybe_ca_file),
        "pdns_server_id": reader.get("PDM_PDNS_SERVER_ID", "localhost", values.identifier),
        "pdns_concurrency": reader.get("PDM_PDNS_CONCURRENCY", "8", values.count),
        "pool_domains": reader.get(
            "PDM_POOL_DOMAINS", "openova.io,omani.works", values.pool_domains, also="DYNADOT_MANAGED_DOMAINS"
        ),
        "nameservers": reader.get("PDM_NAMESERVERS", "ns1.openova.io,ns2.openova.io,ns3.openova.io", values.domains),
        "nameserver_addresses": reader.get("PDM_NAMESERVER_ADDRESSES", "", values.nameserver_addresses),
        "reservation_ttl": reader.get("PDM_RESERVATION_TTL", "30m", values.duration),
        "ages": {
            "reservation": reader.get("PDM_RESERVATION_MAX_AGE", "30d", values.duration),
            "proof": reader.get("PDM_PROOF_MAX_AGE", "24h", values.duration),
        },
        "limits": {
            "claims": reader.get("PDM_CLAIMS_PER_MINUTE", "60", values.limit),
            "renewals": reader.get("PDM_RENEWALS_PER_MINUTE", "600", values.limit),
            "preflights": reader.get("PDM_PREFLIGHTS_PER_MINUTE", "30", values.limit),
            "observations": reader.get("PDM_OBSERVATIONS_PER_MINUTE", "60", values.limit),
        },
        "reconcile_interval": reader.get("PDM_RECONCILE_INTERVAL", "5s", values.duration),
        "audit_interval": reader.get("PDM_AUDIT_INTERVAL", "10m", values.duration),
        "look_interval": reader.get("PDM_LOOK_INTERVAL", "1d", values.duration),
        "audit_rate": reader.get("PDM_AUDIT_RATE", "5", values.count),
        "keep_strays": reader.get("PDM_STRAY_DELEGATIONS", "remove", values.keep),
        "lease": reader.get("PDM_LEASE", "15s", values.lease),
        "drain": reader.get("PDM_DRAIN_TIMEOUT", "15s", values.duration),
        "log_level": reader.get("PDM_LOG_LEVEL", "info", values.log_level),
        "registrar_urls": {
            name: url
            for name in registrars
            if (url := reader.get(f"PDM_REGISTRAR_{name.upper()}_URL", "", values.maybe_url))
        },
        "registrar_options": {
            name: {
                option: reader.get(f"PDM_REGISTRAR_{name.upper()}_{option}", one.default, one.parse)
                for option, one in entry.options.items()
            }
            for name, entry in registrars.items()
            if entry.options
        },
        "pool_registrar": reader.get("PDM_POOL_REGISTRAR", "", values.maybe_one_of(registrars)),
        "pool_registrar_token": reader.get("PDM_POOL_REGISTRAR_TOKEN", "", values.maybe_token),
        "pool_ds_delay": reader.get("PDM_POOL_DS_DELAY", "2d", values.duration),
        "root_hints": reader.get("PDM_DNS_ROOT_HINTS", _IANA_ROOT, values.root_hints),
        "dns_port": reader.get("PDM_DNS_PORT", "53", values.port),
        "dns_addresses": reader.get("PDM_DNS_ADDRESSES", "", values.named_addresses),
        "dns_allow_private": reader.get("PDM_DNS_ALLOW_PRIVATE", "no", values.yes_or_no),
        "delegation_interval": reader.get("PDM_DELEGATION_INTERVAL", "15s", values.duration),
        "clock_ahead": reader.get("PDM_CLOCK_AHEAD", "0s", values.maybe_no_time),
        "rdap_url": reader.get("PDM_RDAP_URL", "iana", values.rdap_url),
        "acme_issuers": reader.get("PDM_ACME_ISSUERS", "letsencrypt.org", values.domains),
        "auth_tokens_file": reader.get("PDM_AUTH_TOKENS_FILE", "", values.maybe_file(callers.read)),
        "anonymous": reader.get("PDM_ANONYMOUS", "", values.anonymous),
        "kubernetes_url": reader.get("PDM_KUBERNETES_URL", "", values.maybe_url),
        "kubernetes_token_file": reader.get("PDM_KUBERNETES_TOKEN_FILE", f"{_SERVICE_ACCOUNT}/token", Path),
        "kubernetes_ca_file": reader.get("PDM_KUBERNETES_CA_FILE", "", values.maybe_file(str)),
        "policy_file": reader.get("PDM_NAME_POLICY_FILE", "", values.maybe_file(policy.read)),
        "confusables": reader.get("PDM_CONFUSABLES", "warn", values.one_of(get_args(Confusables))),
        "quarantine": reader.get("PDM_QUARANTINE", "30d", values.up_to_a_year),
        "events_kept": reader.get("PDM_EVENTS_RETENTION", "400d", values.retention),
        "otlp_url": reader.get("PDM_OTLP_URL", "", values.maybe_url),
    }
    if bool(settings["pool_registrar"]) != bool(settings["pool_registrar_token"]) and not reader.faults:
        missing = "PDM_POOL_REGISTRAR_TOKEN" if settings["pool_registrar"] else "PDM_POOL_REGISTRAR"
        reader.faults.append(f"{missing}: missing; a pool registrar needs a name and a token")
    if reader.faults:
        raise SettingsError("\n".join(reader.faults))
    password = settings.pop("database_password")
    settings["database_url"] = values.with_password(str(settings["database_url"]), str(password))
    made = msgspec.convert(settings, Settings, strict=False)
    if fault := _tls_fault(made):
        raise SettingsError(fault)
    return made


def _tls_fault(settings: Settings) -> str:
    """Return what is wrong with the files for TLS together, "" if nothing is."""
    cert, key, client_ca = settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file
    if cert is None or key is None:
        if not (cert or key or client_ca):
            return ""
        missing = "PDM_TLS_CERT_FILE" if cert is None else "PDM_TLS_KEY_FILE"
        return f"{missing}: missing; TLS needs a certificate and its key"
    if client_ca is not None and settings.auth_tokens_file is None:
        return "PDM_AUTH_TOKENS_FILE: missing; with PDM_TLS_CLIENT_CA_FILE it says whose a certificate is"
    try:
        tls.serving(cert, key, client_ca)
    except (OSError, ValueError) as error:
        return f"PDM_TLS_CERT_FILE, PDM_TLS_KEY_FILE, PDM_TLS_CLIENT_CA_FILE: {error}"
    return ""


class _Reader:
    """Takes values out of the environment and collects what is wrong with them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.faults: list[str] = []

    def get(self, name: str, default: str | None, parse: Callable[[str], object], also: str = "") -> object:
        """Return the parsed value of `name`, of the file at `<name>_FILE`, of `also`, or the default."""
        try:
            text = self._text(name) or (self._text(also) if also else "") or default
            if text is None:
                self.faults.append(f"{name}: missing")
                return None
            return parse(text)
        except OSError as error:
            self.faults.append(f"{name}_FILE: cannot be read: {error.strerror}")
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
        return None

    def _text(self, name: str) -> str:
        path = self._environment.get(f"{name}_FILE")
        return (Path(path).read_text("utf-8") if path else self._environment.get(name, "")).strip()
