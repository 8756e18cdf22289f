"""RRsets that a customer takes along from the zone before. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from pdm_service import names
from pdm_service.byo.preflight import allows
from pdm_service.errors import InvalidFormat
from pdm_service.model.observation import OldZone
from pdm_service.model.records import RRset
from pdm_service.model.zone import ADDRESS_TYPES, canonical_names

_MAX_TTL = 3600
_NEVER = {"SOA", "DS", "DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "CDS", "CDNSKEY"}
_MAX = 200


def imported(old: OldZone | None, listed: Iterable[tuple[str, str]], acme_issuers: Sequence[str]) -> tuple[RRset, ...]:
    """Return the listed RRsets (absolute name in lower case, type) of the old zone as the new one has them.

    TTLs are an hour at most. A CAA at the apex is given the platform's CAs (RFC 8659). Raises InvalidFormat for what
    was not found, and for what cannot stand beside the platform's own records.
    """
    present = {(one.name, one.type): one for one in old.rrsets} if old else {}
    found: dict[tuple[str, str], RRset] = {}
    for name, rtype in listed:
        if old is None or (name, rtype) not in present:
            raise _refused(name, rtype, "was not found at the current nameservers")
        _require_importable(f"{old.domain}.", name, rtype)
        found[name, rtype] = _copy(f"{old.domain}.", present[name, rtype], acme_issuers)
    if len(found) > _MAX:
        raise InvalidFormat(f"import: takes {_MAX} RRsets at most")
    for name, rtype in found:
        if rtype == "CNAME" and any(other != rtype for held, other in found if held == name):
            raise _refused(name, rtype, "cannot stand beside other records")
    return tuple(found.values())


def _require_importable(apex: str, name: str, rtype: str) -> None:
    if not names.covers(apex, name):
        raise _refused(name, rtype, f"does not lie in {apex.removesuffix('.')}")
    if rtype in _NEVER or (rtype == "NS" and name == apex):
        raise _refused(name, rtype, "is the platform's own")
    if name in canonical_names(apex) and rtype in {*ADDRESS_TYPES, "CNAME", "NS", "DNAME"}:
        raise _refused(name, rtype, "stands where the platform's own addresses are")


def _refused(name: str, rtype: str, why: str) -> InvalidFormat:
    return InvalidFormat(f"import: {name.removesuffix('.')} {rtype} {why}")


def _copy(apex: str, old: RRset, acme_issuers: Sequence[str]) -> RRset:
    contents = old.contents
    if old.type == "CAA" and old.name == apex and not allows(old, acme_issuers):
        contents = (*contents, *(f'0 issue "{issuer}"' for issuer in acme_issuers))
    return msgspec.structs.replace(old, ttl=min(old.ttl, _MAX_TTL), contents=tuple(dict.fromkeys(contents)))
