"""Names: parse, normalise, judge. The only place with rules about names."""

import re
from collections.abc import Iterable
from hashlib import blake2s

from pdm_service.errors import InvalidFormat, InvalidText
from pdm_service.names import idn

MAX_NAME = 253
MAX_TEXT = 200

# RFC 1034 section 3.5, restricted: a leading digit would admit names that read as addresses,
# and "--" would admit A-labels (RFC 5890), whose looks we cannot judge.
_LABEL = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def label(text: str, pool: str = "") -> str:
    """Return `text` as a label to hand out: trimmed, lower case; raises InvalidFormat, with what was meant.

    Of a whole name below `pool` that is its label.
    """
    if _is_label(text):
        return text
    found = _plain(text)
    if not _is_label(found):
        msg = (
            "a subdomain is one label of 1 to 63 characters a-z, 0-9 and '-', starts with a letter, "
            "ends with a letter or digit and has no '--'"
        )
        meant = idn.host_in(text).removesuffix(f".{pool}")
        raise InvalidFormat(msg, meant if _is_label(meant) else None)
    return found


def domain(text: str) -> str:
    """Return `text` as a domain name, lower case, no trailing dot; raises InvalidFormat, with what was meant.

    At least two labels of letters, digits and hyphens, 253 characters; the last label is not all digits, so that no
    IPv4 address is a name (RFC 1123 section 2.1).
    """
    found = _plain(text)
    if not _is_domain(found):
        meant = idn.host_in(text)
        if _is_domain(meant) and not text.isascii():
            raise InvalidFormat(f"write the domain as DNS has it, in A-labels (RFC 5890): {meant}", meant)
        msg = (
            "a domain name has two or more labels of a-z, 0-9 and '-', 253 characters at most, "
            "and its last label is not all digits"
        )
        raise InvalidFormat(msg, meant if _is_domain(meant) else None)
    return found


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").lower() if text.isascii() else ""


def _is_label(found: str) -> bool:
    return _LABEL.fullmatch(found) is not None and "--" not in found


def _is_domain(found: str) -> bool:
    labels = found.split(".")
    well_formed = len(found) <= MAX_NAME and len(labels) >= 2 and all(map(_HOST_LABEL.fullmatch, labels))
    return well_formed and not labels[-1].isdecimal()


def split(fqdn: str, pool_domains: frozenset[str]) -> tuple[str, str] | None:
    """Return (label, pool domain) of a name directly under a pool domain, else None."""
    first, _, rest = fqdn.partition(".")
    return (first, rest) if rest in pool_domains else None


def covers(upper: str, lower: str) -> bool:
    """Return whether `lower` is `upper` or lies below it."""
    return lower == upper or lower.endswith("." + upper)


def above(fqdn: str) -> tuple[str, ...]:
    """Return a name and all names that it lies below."""
    labels = fqdn.split(".")
    return tuple(".".join(labels[start:]) for start in range(len(labels)))


def pool_of(fqdn: str, pools: Iterable[str]) -> str | None:
    """Return the pool domain that a name lies under, the lowest of several; None where it lies under none."""
    return max((pool for pool in pools if covers(pool, fqdn)), key=len, default=None)


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
