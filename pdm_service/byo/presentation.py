"""Records as PowerDNS takes them. Pure.

Its API refuses a record that is not written exactly as it would write it itself, and some that other servers serve
(https://doc.powerdns.com/authoritative/http-api/zone.html; measured on 4.7.3). What is refused there is told here
first, in words for whoever asked for it.
"""

import base64
import io
import re
from collections.abc import Callable

import dns.exception
import dns.name
import dns.rdata
import dns.rdtypes.ANY.LOC
import dns.rdtypes.svcbbase as svcb

from pdm_service.model.records import RRset

TYPES = frozenset(
    (
        "A", "AAAA", "MX", "TXT", "CNAME", "SRV", "CAA", "NS", "HTTPS", "SVCB", "TLSA", "SSHFP", "NAPTR", "LOC", "URI",
        "DNAME", "PTR", "DS",
    )
)  # fmt: skip
"""Those that can be written."""
MAX_BYTES = 32_768
"""Of an RRset: what does not fit into an answer beside its signature is served to nobody."""
_MAX_ALTITUDE = 2_147_483_647 - 10_000_000
_MAX_SIZE = 4_000_000_000
"""Centimetres that PowerDNS counts to."""
_OWNER = re.compile(r"(\*\.|\*$)?([a-z0-9_/-]+(\.|$))*", re.IGNORECASE)
_HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+", re.IGNORECASE)
_TARGETS = {"MX": "exchange", "SRV": "target", "NS": "target"}
"""The types whose target has to be a host name (RFC 952, RFC 1123), and where it stands."""
_PARAMETERS = {svcb.ParamKey.MANDATORY, svcb.ParamKey.ALPN, svcb.ParamKey.NO_DEFAULT_ALPN, svcb.ParamKey.PORT,
               svcb.ParamKey.IPV4HINT, svcb.ParamKey.ECH, svcb.ParamKey.IPV6HINT}  # fmt: skip
"""Those that PowerDNS knows by name; it takes all others as keyN (RFC 9460 section 2.1)."""


class UnwritableError(Exception):
    """A record that PowerDNS would refuse, and why."""


def canonical(rrset: RRset) -> RRset:
    """Return an RRset with its records as PowerDNS writes them; raises UnwritableError."""
    if rrset.type not in TYPES:
        raise UnwritableError(f"has the type {rrset.type}, which cannot be taken along")
    if not _OWNER.fullmatch(rrset.name):
        raise UnwritableError("has a name that the platform's nameservers do not take")
    found = [_rdata(rrset.type, content) for content in rrset.contents]
    if sum(len(one.to_digestable()) for one in found) > MAX_BYTES:
        raise UnwritableError(f"is larger than {MAX_BYTES} bytes")
    contents = dict.fromkeys(_written(rrset.type, one) for one in found)
    if rrset.type in {"CNAME", "DNAME"} and len(contents) > 1:
        raise UnwritableError("has more than one record")
    return RRset(name=rrset.name, type=rrset.type, ttl=rrset.ttl, contents=tuple(contents))


def _rdata(rtype: str, content: str) -> dns.rdata.Rdata:
    try:
        return dns.rdata.from_text("IN", rtype, content)
    except (dns.exception.DNSException, ValueError) as failure:
        raise UnwritableError(f"cannot be read: {content[:100]} ({failure})") from None


def _written(rtype: str, rdata: dns.rdata.Rdata) -> str:
    if rtype in _TARGETS:
        _require_host(getattr(rdata, _TARGETS[rtype]), root=rtype != "NS")
    write = _FORMS.get(rtype)
    return write(rdata) if write else rdata.to_text()


def _require_host(name: dns.name.Name, *, root: bool) -> None:
    if not (_HOST.fullmatch(name.to_text()) or (root and name == dns.name.root)):
        raise UnwritableError(f"points at {name.to_text()}, which is not the name of a host (RFC 1123)")


def _name(name: dns.name.Name) -> str:
    """Return a name with those characters escaped that PowerDNS escapes: fewer than others do."""
    return "".join(f"{''.join(map(_character, label))}." for label in name.labels if label) or "."


def _character(byte: int) -> str:
    if byte in b".\\":
        return f"\\{chr(byte)}"
    return chr(byte) if 0x20 < byte < 0x7F else f"\\{byte:03d}"


def _hex(rdata: dns.rdata.Rdata) -> str:
    """Return numbers and a digest, the digest in one word."""
    words = rdata.to_text().split()
    numbers = {"TLSA": 3, "SSHFP": 2, "DS": 3}[rdata.rdtype.name]
    digest = "".join(words[numbers:]).lower()
    if not digest:
        raise UnwritableError("has no data")
    return " ".join([*words[:numbers], digest])


def _aaaa(rdata: dns.rdata.Rdata) -> str:
    """Return an address in hexadecimal alone, also where others write its end as an IPv4 address (RFC 5952)."""
    head, _, last = rdata.to_text().rpartition(":")
    if "." not in last:
        return rdata.to_text()
    one, two, three, four = map(int, last.split("."))
    return f"{head}:{one << 8 | two:x}:{three << 8 | four:x}"


def _loc(rdata: dns.rdata.Rdata) -> str:
    """Return a place with all of its sizes, in metres (RFC 1876); dnspython leaves those out that are usual."""
    assert isinstance(rdata, dns.rdtypes.ANY.LOC.LOC)  # noqa: S101 - by its type
    sizes = (rdata.size, rdata.horizontal_precision, rdata.vertical_precision)
    if rdata.altitude > _MAX_ALTITUDE or max(sizes) > _MAX_SIZE:
        raise UnwritableError("has an altitude or a size that is too large")
    height = rdata.to_text().partition("m")[0].split()[-1]
    place = f"{_angle(rdata.latitude, 'N', 'S')} {_angle(rdata.longitude, 'E', 'W')}"
    return " ".join([place, f"{height}m", *(f"{size / 100:.2f}m" for size in sizes)])


def _angle(angle: tuple[int, int, int, int, int], positive: str, negative: str) -> str:
    """Return an angle as PowerDNS computes it: 46 degrees 41 minutes are 46 degrees 40 minutes 60.000 seconds there."""
    degrees, minutes, seconds, thousandths, sign = angle
    value = (degrees * 3_600_000 + minutes * 60_000 + seconds * 1000 + thousandths) / 3_600_000.0
    rest = 60.0 * (value - int(value))
    hemisphere = positive if sign > 0 and value else negative
    return f"{int(value)} {int((value - int(value)) * 60)} {(rest - int(rest)) * 60.0:.3f} {hemisphere}"


def _naptr(rdata: dns.rdata.Rdata) -> str:
    return f"{rdata.to_text().rpartition(' ')[0]} {_name(rdata.replacement)}"  # type: ignore[attr-defined]


def _svcb(rdata: dns.rdata.Rdata) -> str:
    """Return SVCB or HTTPS with its parameters in the order of their numbers (RFC 9460 section 2.1)."""
    assert isinstance(rdata, svcb.SVCBBase)  # noqa: S101 - by its type
    if rdata.params and not rdata.priority:
        raise UnwritableError("is an alias with parameters (RFC 9460 section 2.4.2)")
    words = [_parameter(key, value) for key, value in sorted(rdata.params.items())]
    return " ".join([str(rdata.priority), _name(rdata.target), *words])


def _parameter(key: int, value: svcb.Param | None) -> str:
    if value is None and key == svcb.ParamKey.NO_DEFAULT_ALPN:
        return "no-default-alpn"
    if key not in _PARAMETERS:
        return f'key{key}="{_quoted(_wire(value))}"'
    return f"{_key(key)}={_value(value)}"


def _value(value: svcb.Param | None) -> str:
    match value:
        case svcb.MandatoryParam():
            return ",".join(_key(one) for one in sorted(value.keys))
        case svcb.ALPNParam():
            return ",".join(_protocol(one) for one in value.ids)
        case svcb.ECHParam():
            return f'"{base64.b64encode(value.ech).decode()}"'
        case svcb.IPv4HintParam() | svcb.IPv6HintParam():
            # IPv6 with an IPv4 address at its end, where C writes one: other than in an AAAA.
            return ",".join(value.addresses)
        case _:
            return str(getattr(value, "port", ""))


def _key(key: int) -> str:
    return svcb.ParamKey(key).name.lower().replace("_", "-") if key in _PARAMETERS else f"key{key}"


def _wire(value: svcb.Param | None) -> bytes:
    if value is None:
        return b""
    packed = io.BytesIO()
    value.to_wire(packed)  # type: ignore[attr-defined]
    return packed.getvalue()


def _protocol(one: bytes) -> str:
    """Return a name of a protocol; those that are registered have none of the characters that are refused."""
    if not re.fullmatch(rb"[A-Za-z0-9/:._+~@!=*,\\-]+", one):
        raise UnwritableError(f"names a protocol that cannot be written: {one[:50]!r}")
    return one.decode().replace("\\", 4 * "\\").replace(",", "\\\\,")


def _quoted(value: bytes) -> str:
    if any(byte in value for byte in b";()"):
        raise UnwritableError("has a parameter with a semicolon or a parenthesis")
    return "".join(f"\\{chr(one)}" if one in b'"\\' else chr(one) if 0x20 <= one < 0x7F else f"\\{one:03d}"
                   for one in value)  # fmt: skip


_FORMS: dict[str, Callable[[dns.rdata.Rdata], str]] = {
    "AAAA": _aaaa,
    "CNAME": lambda rdata: _name(rdata.target),  # type: ignore[attr-defined]
    "DNAME": lambda rdata: _name(rdata.target),  # type: ignore[attr-defined]
    "PTR": lambda rdata: _name(rdata.target),  # type: ignore[attr-defined]
    "TLSA": _hex,
    "SSHFP": _hex,
    "DS": _hex,
    "LOC": _loc,
    "NAPTR": _naptr,
    "SVCB": _svcb,
    "HTTPS": _svcb,
}
