"""The only reader of the environment. Reports every fault at once."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qs, urlsplit

import msgspec

from adapters.all import NAMES, OVH_ENDPOINTS
from pdm_service import callers, names
from pdm_service.errors import InvalidFormat
from pdm_service.model.records import Nameserver
from pdm_service.names import policy
from pdm_service.names.policy import Confusables
from pdm_service.settings.live_file import content

_MAX_POOL_DOMAIN = 180
_MAX_DURATION = timedelta(days=30)
_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
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
    database_url: str
    database_connections: int
    pdns_base_url: str
    pdns_api_key: str
    pdns_server_id: str
    pdns_concurrency: int
    """Calls in flight to PowerDNS; its listen backlog is 10."""
    pool_domains: tuple[str, ...]
    """Sorted."""
    nameservers: tuple[str, ...]
    nameserver_addresses: tuple[Nameserver, ...]
    reservation_ttl: timedelta
    reconcile_interval: timedelta
    audit_interval: timedelta
    keep_strays: bool
    """Whether delegations without an allocation are left alone: for the time after a restore of the database."""
    lease: timedelta
    """How long a publisher may work on a name before another takes it over."""
    drain: timedelta
    """How long a stopping service waits for requests in flight."""
    log_level: str
    registrar_urls: dict[str, str]
    """Of those registrars that are asked elsewhere than at their own address."""
    ovh_endpoint: str
    namecheap_client_ip: str | None
    """The IPv4 address that Namecheap sees our requests come from."""
    pool_registrar: str | None
    pool_registrar_token: str | None
    pool_ds_delay: timedelta
    """How long after a change of a pool domain's nameservers its DS is published."""

    root_hints: tuple[Nameserver, ...]
    """Where the way down to a delegation begins; empty: delegations are not looked at."""
    dns_port: int
    dns_addresses: tuple[Nameserver, ...]
    """Stand for what their names would resolve to."""
    dns_allow_private: bool
    """Whether nameservers at addresses that are not public are asked."""
    delegation_interval: timedelta
    """The pause between the first looks at a delegation."""
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
    """The API server that knows whose a ServiceAccount's token is."""
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
    closed = any(environment.get(name) for name in ("PDM_AUTH_TOKENS_FILE", "PDM_ANONYMOUS"))
    host = reader.get("PDM_HOST", "127.0.0.1", _host if closed else _loopback)
    settings = {
        "host": host,
        "port": reader.get("PORT", "8080", _port),
        "database_url": reader.get("PDM_DATABASE_URL", None, _database_url),
        "database_connections": reader.get("PDM_DATABASE_CONNECTIONS", "12", _count),
        "pdns_base_url": reader.get("PDM_PDNS_BASE_URL", None, _http_url),
        "pdns_api_key": reader.get("PDM_PDNS_API_KEY", None, _header_text),
        "pdns_server_id": reader.get("PDM_PDNS_SERVER_ID", "localhost", _identifier),
        "pdns_concurrency": reader.get("PDM_PDNS_CONCURRENCY", "8", _count),
        "pool_domains": reader.get(
            "PDM_POOL_DOMAINS", "openova.io,omani.works", _pool_domains, also="DYNADOT_MANAGED_DOMAINS"
        ),
        "nameservers": reader.get("PDM_NAMESERVERS", "ns1.openova.io,ns2.openova.io,ns3.openova.io", _domains),
        "nameserver_addresses": reader.get("PDM_NAMESERVER_ADDRESSES", "", _nameserver_addresses),
        "reservation_ttl": reader.get("PDM_RESERVATION_TTL", "30m", _duration),
        "reconcile_interval": reader.get("PDM_RECONCILE_INTERVAL", "5s", _duration),
        "audit_interval": reader.get("PDM_AUDIT_INTERVAL", "10m", _duration),
        "keep_strays": reader.get("PDM_STRAY_DELEGATIONS", "remove", _keep),
        "lease": reader.get("PDM_LEASE", "15s", _lease),
        "drain": reader.get("PDM_DRAIN_TIMEOUT", "15s", _duration),
        "log_level": reader.get("PDM_LOG_LEVEL", "info", _log_level),
        "registrar_urls": {
            name: url for name in NAMES if (url := reader.get(f"PDM_REGISTRAR_{name.upper()}_URL", "", _maybe_url))
        },
        "ovh_endpoint": reader.get("PDM_REGISTRAR_OVH_ENDPOINT", "ovh-eu", _one_of(OVH_ENDPOINTS)),
        "namecheap_client_ip": reader.get("PDM_REGISTRAR_NAMECHEAP_CLIENT_IP", "", _maybe_ipv4),
        "pool_registrar": reader.get("PDM_POOL_REGISTRAR", "", _maybe_registrar),
        "pool_registrar_token": reader.get("PDM_POOL_REGISTRAR_TOKEN", "", _maybe_token),
        "pool_ds_delay": reader.get("PDM_POOL_DS_DELAY", "2d", _duration),
        "root_hints": reader.get("PDM_DNS_ROOT_HINTS", _IANA_ROOT, _root_hints),
        "dns_port": reader.get("PDM_DNS_PORT", "53", _port),
        "dns_addresses": reader.get("PDM_DNS_ADDRESSES", "", _named_addresses),
        "dns_allow_private": reader.get("PDM_DNS_ALLOW_PRIVATE", "no", _yes_or_no),
        "delegation_interval": reader.get("PDM_DELEGATION_INTERVAL", "15s", _duration),
        "clock_ahead": reader.get("PDM_CLOCK_AHEAD", "0s", _maybe_no_time),
        "rdap_url": reader.get("PDM_RDAP_URL", "iana", _rdap_url),
        "acme_issuers": reader.get("PDM_ACME_ISSUERS", "letsencrypt.org", _domains),
        "auth_tokens_file": reader.get("PDM_AUTH_TOKENS_FILE", "", _maybe_file(callers.read)),
        "anonymous": reader.get("PDM_ANONYMOUS", "", _anonymous),
        "kubernetes_url": reader.get("PDM_KUBERNETES_URL", "", _maybe_url),
        "kubernetes_token_file": reader.get("PDM_KUBERNETES_TOKEN_FILE", f"{_SERVICE_ACCOUNT}/token", Path),
        "kubernetes_ca_file": reader.get("PDM_KUBERNETES_CA_FILE", "", _maybe_file(str)),
        "policy_file": reader.get("PDM_NAME_POLICY_FILE", "", _maybe_file(policy.read)),
        "confusables": reader.get("PDM_CONFUSABLES", "warn", _one_of(get_args(Confusables))),
        "quarantine": reader.get("PDM_QUARANTINE", "30d", _up_to_a_year),
        "events_kept": reader.get("PDM_EVENTS_RETENTION", "400d", _retention),
        "otlp_url": reader.get("PDM_OTLP_URL", "", _maybe_url),
    }
    if bool(settings["pool_registrar"]) != bool(settings["pool_registrar_token"]) and not reader.faults:
        missing = "PDM_POOL_REGISTRAR_TOKEN" if settings["pool_registrar"] else "PDM_POOL_REGISTRAR"
        reader.faults.append(f"{missing}: missing; a pool registrar needs a name and a token")
    if reader.faults:
        raise SettingsError("\n".join(reader.faults))
    return msgspec.convert(settings, Settings, strict=False)


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


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 65536:
        msg = "a port is a number from 1 to 65535"
        raise ValueError(msg)
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= 200:
        msg = "takes a number from 1 to 200"
        raise ValueError(msg)
    return int(text)


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:-]+", text):
        msg = "takes an address or a host name"
        raise ValueError(msg)
    return text


def _maybe_file(parse: Callable[[str], object]) -> Callable[[str], Path | None]:
    def check(text: str) -> Path | None:
        if not text:
            return None
        try:
            content(Path(text), parse)
        except OSError as error:
            msg = f"the file cannot be read: {error.strerror}"
            raise ValueError(msg) from error
        return Path(text)

    return check


def _anonymous(text: str) -> bool:
    if text not in {"", "compat"}:
        msg = "is compat, or not set"
        raise ValueError(msg)
    return bool(text)


def _loopback(text: str) -> str:
    try:
        loopback = text == "localhost" or ip_address(text).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        msg = "without PDM_AUTH_TOKENS_FILE only a loopback address is accepted"
        raise ValueError(msg)
    return text


def _database_url(text: str) -> str:
    """Return a DSN that asyncpg can read. What is wrong with it is told without any part of it: it has a password."""
    try:
        parts = urlsplit(text)
        hosts = parts.netloc.rpartition("@")[2].split(",")
        ports = [urlsplit(f"//{host}").port or 5432 for host in hosts]
        modes = parse_qs(parts.query).get("sslmode", ["prefer"])
    except ValueError:
        parts, ports, modes = urlsplit(""), [], []
    if parts.scheme not in {"postgres", "postgresql"} or not ports or not set(modes) <= _SSL_MODES:
        msg = "takes postgresql://user:password@host:port/database?sslmode=…, special characters in it %-encoded"
        raise ValueError(msg)
    return text


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        msg = "takes http://host:port or https://host:port"
        raise ValueError(msg)
    return text.rstrip("/")


def _header_text(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        msg = "takes printable ASCII characters"
        raise ValueError(msg)
    return text


def _identifier(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        msg = "takes letters, digits, '.', '_' and '-'"
        raise ValueError(msg)
    return text


def _domains(text: str) -> tuple[str, ...]:
    try:
        found = tuple(dict.fromkeys(names.domain(word) for word in re.split(r"[,\s]+", text) if word))
    except InvalidFormat as error:
        raise ValueError(error.detail) from error
    if not found:
        msg = "takes at least one domain name"
        raise ValueError(msg)
    return found


def _pool_domains(text: str) -> tuple[str, ...]:
    found = tuple(sorted(_domains(text)))
    if any(len(name) > _MAX_POOL_DOMAIN for name in found):
        msg = f"a pool domain has {_MAX_POOL_DOMAIN} characters at most"
        raise ValueError(msg)
    return found


def _nameserver_addresses(text: str) -> tuple[Nameserver, ...]:
    return tuple(_nameserver(word) for word in re.split(r"[,\s]+", text) if word)


def _nameserver(text: str) -> Nameserver:
    name, _, where = text.rpartition("=")
    host, port = where, "53"
    if match := re.fullmatch(r"\[([^]]+)\](?::(\d+))?|([0-9.]+):(\d+)", where):
        host, port = match[1] or match[3], match[2] or match[4] or "53"
    try:
        return Nameserver(names.domain(name) if name else "", str(ip_address(host)), _port(port))
    except (InvalidFormat, ValueError) as error:
        msg = f"{text!r} is not of the form [name=]address[:port] (an IPv6 address with a port in brackets)"
        raise ValueError(msg) from error


def _named_addresses(text: str) -> tuple[Nameserver, ...]:
    found = _nameserver_addresses(text)
    if any(not server.name for server in found):
        msg = "takes name=address[:port], each with its name"
        raise ValueError(msg)
    return found


def _root_hints(text: str) -> tuple[Nameserver, ...]:
    return () if text == "none" else _named_addresses(text)


def _yes_or_no(text: str) -> bool:
    if text.lower() not in {"yes", "no", "true", "false"}:
        msg = "is yes or no"
        raise ValueError(msg)
    return text.lower() in {"yes", "true"}


def _keep(text: str) -> bool:
    return _one_of(("keep", "remove"))(text) == "keep"


def _maybe_no_time(text: str) -> timedelta:
    return timedelta() if text in {"0", "0s"} else _duration(text)


def _rdap_url(text: str) -> str | None:
    return None if text == "iana" else "" if text == "none" else _http_url(text)


def _duration(text: str, least: timedelta = timedelta(seconds=1), most: timedelta = _MAX_DURATION) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,7})([smhd])", text)
    found = timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else None
    if found is None or not least <= found <= most:
        msg = f"takes a duration such as 90s, 30m or 2h, {most.days}d at most"
        raise ValueError(msg)
    return found


def _up_to_a_year(text: str) -> timedelta:
    return timedelta() if text == "0" else _duration(text, timedelta(), timedelta(days=366))


def _retention(text: str) -> timedelta:
    # Quotas count what was reserved within a day.
    return _duration(text, timedelta(days=2), timedelta(days=3660))


def _lease(text: str) -> timedelta:
    found = _duration(text)
    if not timedelta(seconds=3) <= found <= timedelta(minutes=5):
        msg = "takes a duration from 3s to 5m"
        raise ValueError(msg)
    return found


def _one_of(words: Iterable[str]) -> Callable[[str], str]:
    known = sorted(words)

    def parse(text: str) -> str:
        if text.lower() not in known:
            msg = f"is one of {', '.join(known)}"
            raise ValueError(msg)
        return text.lower()

    return parse


def _maybe_registrar(text: str) -> str | None:
    return _one_of(NAMES)(text) if text else None


def _maybe_token(text: str) -> str | None:
    return _header_text(text) if text else None


def _maybe_url(text: str) -> str | None:
    return _http_url(text) if text else None


def _maybe_ipv4(text: str) -> str | None:
    try:
        return str(IPv4Address(text)) if text else None
    except ValueError as error:
        msg = "takes an IPv4 address"
        raise ValueError(msg) from error


def _log_level(text: str) -> str:
    if text.lower() not in {"debug", "info", "warning", "error"}:
        msg = "is one of debug, info, warning, error"
        raise ValueError(msg)
    return text.lower()
