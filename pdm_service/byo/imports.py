"""RRsets that a customer takes along from the zone before, or gives as a zone file. Pure.

What cannot be served is refused here, with its name and the reason, before anything is changed.
"""

from collections.abc import Iterable, Sequence

import msgspec

from pdm_service import names
from pdm_service.byo import presentation
from pdm_service.byo.preflight import allows
from pdm_service.byo.presentation import UnwritableError
from pdm_service.errors import InvalidFormat
from pdm_service.model.observation import OldZone
from pdm_service.model.records import RRset
from pdm_service.model.zone import ADDRESS_TYPES, canonical_names

Key = tuple[str, str]
"""The name of an RRset, absolute and in lower case, and its type."""

_MAX_TTL = 3600
_MAX = 200
_OWN = {"SOA", "DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "CDS", "CDNSKEY", "ZONEMD"}


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit wants taken along."""

    listed: tuple[Key, ...] = ()
    """To be copied as the current nameservers have them."""
    given: tuple[RRset, ...] = ()
    """Of a zone file, as the customer wants them."""

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self.listed or self.given)

    def questions(self) -> list[Key]:
        """Return what the current nameservers have to be asked, names without the trailing dot."""
        return [(name.removesuffix("."), rtype) for name, rtype in self.listed]


NOTHING = Choice()


def choice(domain: str, listed: Iterable[Key], given: Iterable[RRset] = ()) -> Choice:
    """Return what a commit asks for; raises InvalidFormat for what can never be taken along."""
    made = Choice(listed=tuple(dict.fromkeys(listed)), given=tuple(_copy(f"{domain}.", one, ()) for one in given))
    for name, rtype in [*made.listed, *((one.name, one.type) for one in made.given)]:
        if why := unfit(f"{domain}.", name, rtype):
            raise _refused(name, rtype, why)
    if twice := {(one.name, one.type) for one in made.given} & set(made.listed):
        raise _refused(*min(twice), "stands both in the list and in the zone file")
    if len(made.listed) > _MAX:
        raise InvalidFormat(f"import: takes {_MAX} RRsets at most")
    return made


def taken(domain: str, old: OldZone | None, chosen: Choice, acme_issuers: Sequence[str]) -> tuple[RRset, ...]:
    """Return the chosen RRsets as the new zone has them, with the glue and the DS of delegations among them.

    TTLs are an hour at most. A CAA at the apex is given the platform's CAs (RFC 8659). Raises InvalidFormat for what
    was not found, and for what cannot be served.
    """
    present = {(one.name, one.type): one for one in old.rrsets} if old else {}
    found = {(one.name, one.type): one for one in chosen.given}
    for key in chosen.listed:
        if key not in present:
            raise _refused(*key, _absent(old, key))
        found[key] = present[key]
    for key in _company(found.values(), present):
        found.setdefault(key, present[key])
    made = tuple(_copy(f"{domain}.", one, acme_issuers) for one in found.values())
    _require_consistent(made)
    return made


def covered(old: OldZone | None, chosen: Choice) -> frozenset[Key]:
    """Return which RRsets of the old zone the new one will have whole."""
    present = {(one.name, one.type): one for one in old.rrsets} if old else {}
    found = {key: present[key] for key in chosen.listed if key in present}
    for one in chosen.given:
        before = present.get((one.name, one.type))
        if before and set(_contents(before)) <= set(one.contents):
            found[one.name, one.type] = one
    return frozenset([*found, *_company(found.values(), present)])


def repeats(held: Iterable[RRset], chosen: Choice) -> bool:
    """Return whether a choice is what was taken along already; one of nothing says nothing."""
    before = {(one.name, one.type): one for one in held}
    if not all(set(one.contents) <= set(before[key].contents) for one in chosen.given
               if (key := (one.name, one.type)) in before):  # fmt: skip
        return False
    asked = {*chosen.listed, *((one.name, one.type) for one in chosen.given)}
    company = _company((before[key] for key in asked & before.keys()), before)
    return not chosen or {*asked, *company} == set(before)


def _absent(old: OldZone | None, key: Key) -> str:
    for one in old.unanswered if old else ():
        if (one.name, one.type) == key:
            why = one.tries[-1] if one.tries else "it is still being asked"
            return f"is not known, as the current nameservers have not answered that question ({why}); try again"
    return "was not found at the current nameservers, which were asked for it"


def _company(found: Iterable[RRset], present: Iterable[Key]) -> list[Key]:
    """Return what goes with the delegations among RRsets: their DS, and the addresses of nameservers below them."""
    cuts = _cuts(found)
    return [
        (name, rtype)
        for name, rtype in present
        if (name in cuts and rtype == "DS")
        or (rtype in ADDRESS_TYPES and any(name in cuts[above] for above in _at_and_above(name) if above in cuts))
    ]  # fmt: skip


def _cuts(rrsets: Iterable[RRset]) -> dict[str, set[str]]:
    """Return the names that are delegated, each with its nameservers."""
    return {one.name: {content.lower() for content in one.contents} for one in rrsets if one.type == "NS"}


def _at_and_above(name: str) -> Iterable[str]:
    while name:
        yield name
        name = name.partition(".")[2]


def is_own(apex: str, name: str, rtype: str) -> bool:
    """Return whether an RRset is one of those that sign a zone or hold it together: the platform's has its own."""
    return rtype in _OWN or (rtype in {"NS", "DS"} and name == apex)


def unfit(apex: str, name: str, rtype: str) -> str | None:
    """Return why nothing of a name and type can be taken along."""
    if not names.covers(apex, name):
        return f"does not lie in {apex.removesuffix('.')}"
    if is_own(apex, name, rtype):
        return "is the platform's own"
    if rtype not in presentation.TYPES:
        return "has a type that cannot be taken along"
    if name in canonical_names(apex) and rtype in {*ADDRESS_TYPES, "CNAME", "NS", "DNAME"}:
        return "stands where the platform's own addresses are"
    return None


def why_not(apex: str, rrset: RRset) -> str | None:
    """Return why an RRset cannot be taken along, None where it can."""
    try:
        presentation.canonical(rrset)
    except UnwritableError as failure:
        return str(failure)
    return unfit(apex, rrset.name, rrset.type)


def _refused(name: str, rtype: str, why: str) -> InvalidFormat:
    return InvalidFormat(f"import: {name.removesuffix('.')} {rtype} {why}")


def _copy(apex: str, old: RRset, acme_issuers: Sequence[str]) -> RRset:
    contents = old.contents
    if old.type == "CAA" and old.name == apex and not allows(old, acme_issuers):
        contents = (*contents, *(f'0 issue "{issuer}"' for issuer in acme_issuers))
    try:
        return presentation.canonical(msgspec.structs.replace(old, ttl=min(old.ttl, _MAX_TTL), contents=contents))
    except UnwritableError as failure:
        raise _refused(old.name, old.type, str(failure)) from None


def _contents(rrset: RRset) -> tuple[str, ...]:
    """Return the records of an RRset as those that are given are written."""
    try:
        return presentation.canonical(rrset).contents
    except UnwritableError:
        return rrset.contents


def _require_consistent(rrsets: Iterable[RRset]) -> None:
    """Raise InvalidFormat for RRsets that cannot stand together (RFC 1034 section 3.6.2, RFC 2181, RFC 6672)."""
    types: dict[str, set[str]] = {}
    for one in rrsets:
        types.setdefault(one.name, set()).add(one.type)
    cuts = _cuts(rrsets)
    for one in rrsets:
        beside = types[one.name]
        if one.type == "CNAME" and len(beside) > 1:
            raise _refused(one.name, one.type, "cannot stand beside other records")
        if one.type == "DS" and "NS" not in beside:
            raise _refused(one.name, one.type, "belongs to a delegation that is not taken along")
        for above in _at_and_above(one.name):
            if "DNAME" in types.get(above, ()) and above != one.name:
                raise _refused(one.name, one.type, f"lies below the DNAME at {above.removesuffix('.')}")
            glue = one.type in ADDRESS_TYPES and one.name in cuts.get(above, ())
            own = one.name == above and one.type in {"NS", "DS"}
            if above in cuts and not (glue or own):
                raise _refused(one.name, one.type, f"lies in what is delegated at {above.removesuffix('.')}")
