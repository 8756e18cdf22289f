"""What the text of a setting means: one function a kind of value. Each says what it takes when it refuses."""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from pdm_service import names, tls
from pdm_service.errors import InvalidFormat
from pdm_service.model.records import Nameserver
from pdm_service.settings.live_file import content

_MAX_POOL_DOMAIN = 180
_MAX_DURATION = timedelta(days=30)
_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Secret(str):
    """A text that is not shown where a variable or a field is printed that holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show nothing."""
        return "Secret()"


def port(text: str) -> int:
    """Return a port number; raises ValueError."""
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 65536:
        msg = "a port is a number from 1 to 65535"
        raise ValueError(msg)
    return int(text)


def count(text: str) -> int:
    """Return a number from 1 to 200; raises ValueError."""
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= 200:
        msg = "takes a number from 1 to 200"
        raise ValueError(msg)
    return int(text)


def limit(text: str) -> int:
    """Return a number of times in a minute, 0 for no limit; raises ValueError."""
    if not text.isascii() or not text.isdecimal() or not int(text) <= 1_000_000:
        msg = "takes a number from 0 (no limit) to 1000000"
        raise ValueError(msg)
    return int(text)


def host(text: str) -> str:
    """Return an address or host name to listen on; raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9.:-]+", text):
        msg = "takes an address or a host name"
        raise ValueError(msg)
    return text


def maybe_file(parse: Callable[[str], object]) -> Callable[[str], Path | None]:
    """Return a parser of a path to a file that `parse` accepts, None for an empty text; it raises ValueError."""

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


def maybe_ca_file(text: str) -> Path | None:
    """Return the path of a file of CAs, None for an empty text; raises ValueError."""
    if (path := maybe_file(str)(text)) is not None:
        tls.trusting(path)
    return path


def anonymous(text: str) -> bool:
    """Return whether callers without a credential are let in; raises ValueError."""
    if text not in {"", "compat"}:
        msg = "is compat, or not set"
        raise ValueError(msg)
    return bool(text)


def loopback(text: str) -> str:
    """Return a loopback address or name; raises ValueError."""
    try:
        loopback = text == "localhost" or ip_address(text).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        msg = "without PDM_AUTH_TOKENS_FILE only a loopback address is accepted"
        raise ValueError(msg)
    return text


def database_url(text: str) -> str:
    """Return a DSN that asyncpg can read; raises ValueError, whose text has no part of it: it holds a password."""
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
    return Secret(text)


def with_password(url: str, password: str) -> Secret:
    """Return a DSN with a password that it does not have itself; without one it is as it was."""
    return Secret(f"{url}{'&' if '?' in url else '?'}password={quote(password, safe='')}" if password else url)


def http_url(text: str) -> str:
    """Return a URL without a trailing slash and without a password; raises ValueError."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        msg = "takes http://host:port or https://host:port"
        raise ValueError(msg)
    return text.rstrip("/")


def secret_header(text: str) -> str:
    """Return a secret that fits into an HTTP header; raises ValueError."""
    if not text.isascii() or not text.isprintable():
        msg = "takes printable ASCII characters"
        raise ValueError(msg)
    return Secret(text)


def identifier(text: str) -> str:
    """Return a name of letters, digits, '.', '_' and '-'; raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        msg = "takes letters, digits, '.', '_' and '-'"
        raise ValueError(msg)
    return text


def domains(text: str) -> tuple[str, ...]:
    """Return domain names in the order given, without repeats; raises ValueError."""
    try:
        found = tuple(dict.fromkeys(names.domain(word) for word in re.split(r"[,\s]+", text) if word))
    except InvalidFormat as error:
        raise ValueError(error.detail) from error
    if not found:
        msg = "takes at least one domain name"
        raise ValueError(msg)
    return found


def pool_domains(text: str) -> tuple[str, ...]:
    """Return pool domains, sorted; raises ValueError."""
    found = tuple(sorted(domains(text)))
    if any(len(name) > _MAX_POOL_DOMAIN for name in found):
        msg = f"a pool domain has {_MAX_POOL_DOMAIN} characters at most"
        raise ValueError(msg)
    return found


def nameserver_addresses(text: str) -> tuple[Nameserver, ...]:
    """Return nameservers of the form [name=]address[:port]; raises ValueError."""
    return tuple(nameserver(word) for word in re.split(r"[,\s]+", text) if word)


def nameserver(text: str) -> Nameserver:
    """Return one nameserver of the form [name=]address[:port]; raises ValueError."""
    name, _, where = text.rpartition("=")
    address, at = where, "53"
    if match := re.fullmatch(r"\[([^]]+)\](?::(\d+))?|([0-9.]+):(\d+)", where):
        address, at = match[1] or match[3], match[2] or match[4] or "53"
    try:
        return Nameserver(names.domain(name) if name else "", str(ip_address(address)), port(at))
    except (InvalidFormat, ValueError) as error:
        msg = f"{text!r} is not of the form [name=]address[:port] (an IPv6 address with a port in brackets)"
        raise ValueError(msg) from error


def named_addresses(text: str) -> tuple[Nameserver, ...]:
    """Return nameservers, each with its name; raises ValueError."""
    found = nameserver_addresses(text)
    if any(not server.name for server in found):
        msg = "takes name=address[:port], each with its name"
        raise ValueError(msg)
    return found


def root_hints(text: str) -> tuple[Nameserver, ...]:
    """Return the root's nameservers, none for `none`; raises ValueError."""
    return () if text == "none" else named_addresses(text)


def yes_or_no(text: str) -> bool:
    """Return whether it is yes; raises ValueError."""
    if text.lower() not in {"yes", "no", "true", "false"}:
        msg = "is yes or no"
        raise ValueError(msg)
    return text.lower() in {"yes", "true"}


def keep(text: str) -> bool:
    """Return whether strays are kept; raises ValueError."""
    return one_of(("keep", "remove"))(text) == "keep"


def maybe_no_time(text: str) -> timedelta:
    """Return a duration that may be none; raises ValueError."""
    return timedelta() if text in {"0", "0s"} else duration(text)


def rdap_url(text: str) -> str | None:
    """Return the RDAP server: None for IANA's list, empty for none; raises ValueError."""
    return None if text == "iana" else "" if text == "none" else http_url(text)


def duration(text: str, least: timedelta = timedelta(seconds=1), most: timedelta = _MAX_DURATION) -> timedelta:
    """Return a duration such as 90s, 30m, 2h, 1d; raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,7})([smhd])", text)
    found = timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else None
    if found is None or not least <= found <= most:
        msg = f"takes a duration such as 90s, 30m or 2h, {most.days}d at most"
        raise ValueError(msg)
    return found


def up_to_a_year(text: str) -> timedelta:
    """Return a duration of a year at most, or none for `0`; raises ValueError."""
    return timedelta() if text == "0" else duration(text, timedelta(), timedelta(days=366))


def retention(text: str) -> timedelta:
    """Return how long events are kept; raises ValueError."""
    # Quotas count what was reserved within a day.
    return duration(text, timedelta(days=2), timedelta(days=3660))


def lease(text: str) -> timedelta:
    """Return how long a lease lasts; raises ValueError."""
    found = duration(text)
    if not timedelta(seconds=3) <= found <= timedelta(minutes=5):
        msg = "takes a duration from 3s to 5m"
        raise ValueError(msg)
    return found


def one_of(words: Iterable[str]) -> Callable[[str], str]:
    """Return a parser of one of some words, in lower case; it raises ValueError."""
    known = sorted(words)

    def parse(text: str) -> str:
        if text.lower() not in known:
            msg = f"is one of {', '.join(known)}"
            raise ValueError(msg)
        return text.lower()

    return parse


def maybe_one_of(words: Iterable[str]) -> Callable[[str], str | None]:
    """Return a parser as `one_of` does, which gives None for an empty text."""
    parse = one_of(words)
    return lambda text: parse(text) if text else None


def maybe_token(text: str) -> str | None:
    """Return a token, None for an empty text; raises ValueError."""
    return secret_header(text) if text else None


def maybe_url(text: str) -> str | None:
    """Return a URL, None for an empty text; raises ValueError."""
    return http_url(text) if text else None


def log_level(text: str) -> str:
    """Return a log level in lower case; raises ValueError."""
    if text.lower() not in {"debug", "info", "warning", "error"}:
        msg = "is one of debug, info, warning, error"
        raise ValueError(msg)
    return text.lower()
