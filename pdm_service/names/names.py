"""Names: parse, normalise, judge. The only place with rules about names and addresses."""

import re
from hashlib import blake2s
from ipaddress import IPv4Address, IPv6Address, ip_address

from pdm_service.errors import (
    InvalidAddress,
    InvalidFormat,
    InvalidText,
    MissingAddress,
)

MAX_NAME = 253
MAX_TEXT = 200
MAX_ADDRESSES = 16

# RFC 1034 section 3.5, restricted: a leading digit would admit names that read as addresses,
# and "--" would admit A-labels (RFC 5890), whose looks we cannot judge.
_LABEL = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def label(text: str) -> str:
    """Return `text` as a label to hand out: trimmed, lower case; raises InvalidFormat."""
    found = text.strip().removesuffix(".").lower() if text.isascii() else ""
    if not _LABEL.fullmatch(found) or "--" in found:
        msg = (
            "a subdomain is one label of 1 to 63 characters a-z, 0-9 and '-', starts with a letter, "
            "ends with a letter or digit and has no '--'"
        )
        raise InvalidFormat(msg)
    return found


def domain(text: str) -> str:
    """Return `text` as a domain name, lower case, no trailing dot; raises InvalidFormat.

    At least two labels of letters, digits and hyphens (RFC 1123 section 2.1), 253 characters.
    """
    found = text.strip().removesuffix(".").lower() if text.isascii() else ""
    labels = found.split(".")
    if len(found) > MAX_NAME or len(labels) < 2 or not all(map(_HOST_LABEL.fullmatch, labels)):
        msg = "a domain name has two or more labels of a-z, 0-9 and '-', and 253 characters at most"
        raise InvalidFormat(msg)
    return found


def split(fqdn: str, pool_domains: frozenset[str]) -> tuple[str, str] | None:
    """Return (label, pool domain) of a name directly under a pool domain, else None."""
    first, _, rest = fqdn.partition(".")
    return (first, rest) if rest in pool_domains else None


def covers(upper: str, lower: str) -> bool:
    """Return whether `lower` is `upper` or lies below it."""
    return lower == upper or lower.endswith("." + upper)


def span(fqdn: str) -> tuple[str, str]:
    """Return the half-open range of reversed names at and below `fqdn`.

    Two names lie one above the other, or are equal, exactly when their ranges overlap
    (byte order: "/" follows "."). The database refuses such pairs by it. Labels stand as
    hashes, since the index gets slow where names come in their order (tenant-0001, tenant-0002).
    """
    reverse = ".".join(blake2s(label.encode(), digest_size=12).hexdigest() for label in reversed(fqdn.split(".")))
    return reverse + ".", reverse + "/"


def text(field: str, value: str) -> str:
    """Return a free text as it is; raises InvalidText over 200 printable characters or with braces."""
    if len(value) > MAX_TEXT or not value.isprintable() or "{" in value or "}" in value:
        msg = f"{field} takes {MAX_TEXT} printable characters at most, and no braces"
        raise InvalidText(msg)
    return value


def addresses(values: list[str]) -> tuple[str, ...]:
    """Return load balancer addresses in canonical form, without repeats, in the order given.

    Raises InvalidAddress for what is no unicast address that others can reach, and
    MissingAddress for an empty list.
    """
    found = tuple(dict.fromkeys(_address(value) for value in values))
    if not found:
        msg = "a commit needs loadBalancerIP or loadBalancerIPs"
        raise MissingAddress(msg)
    if len(found) > MAX_ADDRESSES:
        msg = f"a name takes {MAX_ADDRESSES} addresses at most"
        raise InvalidAddress(msg)
    return found


def _address(value: str) -> str:
    try:
        parsed = ip_address(value.strip())
    except ValueError:
        parsed = None
    if parsed is None or _unusable(parsed):
        msg = (
            "an address must be a plain IPv4 or IPv6 unicast address; unspecified, loopback, multicast, "
            "link-local, IPv4-mapped and reserved ones are refused"
        )
        raise InvalidAddress(msg)
    return str(parsed)


def _unusable(address: IPv4Address | IPv6Address) -> bool:
    embedded = isinstance(address, IPv6Address) and (
        address.ipv4_mapped is not None or address.scope_id is not None or address.is_site_local
    )
    return (
        embedded
        or address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address.is_reserved
    )
