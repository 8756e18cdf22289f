"""What an allocation should look like in DNS, and how to get there from what DNS has.

Pure: `plan` is given what was observed and returns what to do; the publisher does it.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from uuid import UUID

import msgspec

from pdm_service.model.allocation import Allocation, Mode
from pdm_service.model.records import RRset

TTL_SECONDS = 300
NEGATIVE_TTL_SECONDS = 60
MAX_POOL_NEGATIVE_TTL_SECONDS = 300
CANONICAL_LABELS = ("", "*", "console", "api", "gitea", "harbor")
OWNER_PREFIX = "pdm-"
ADDRESS_TYPES = ("A", "AAAA")

CHILD_SETTINGS = {"api_rectify": True, "soa_edit_api": "INCREASE"}
POOL_SETTINGS = {
    # Rectifying rewrites every delegation at every change; NSEC3 narrow is right without it, and
    # denies no fresh name from a resolver's aggressive cache.
    "api_rectify": False,
    "nsec3param": "1 0 0 -",
    "nsec3narrow": True,
    "soa_edit_api": "INCREASE",
}
POOL_METADATA = {
    "API-RECTIFY": ["0"],
    "NSEC3PARAM": ["1 0 0 -"],
    "NSEC3NARROW": ["1"],
    "SOA-EDIT-API": ["INCREASE"],
}
"""What POOL_SETTINGS look like once they are made."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The child zone of an allocation, as it should be."""

    zone: str
    """Absolute name with trailing dot."""
    owner: str
    """Stands in the zone's account field, and tells our zone from a former holder's."""
    soa: RRset
    rrsets: tuple[RRset, ...]
    """Apex NS and the canonical address RRsets."""
    imports: tuple[RRset, ...] = ()
    """Copied once, when the zone is made; what becomes of them later is others' business."""
    nameservers: tuple[str, ...]
    known_ds: tuple[str, ...]
    """DS that was published before, empty at the first publication."""
    delegated: bool = True
    """Whether its parent zone is ours to write."""
    announced: bool | None = None
    """Whether the zone should have CDS and CDNSKEY; None where that is nobody's business."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A child zone, as PowerDNS has it."""

    account: str
    rrsets: tuple[RRset, ...]
    ds: tuple[str, ...]
    """DS (digest type 2) of the zone's active keys, empty if it has none."""


class Replace(msgspec.Struct, frozen=True):
    """Take the zone away, with its keys, and create it anew: it is not ours, or was never whole."""


class Patch(msgspec.Struct, frozen=True):
    """Change these RRsets and no other; one without contents is deleted."""

    rrsets: tuple[RRset, ...]
    imports: tuple[RRset, ...] = ()
    """To be written as well, as far as PowerDNS takes them."""


def wanted(allocation: Allocation, nameservers: tuple[str, ...]) -> Wanted:
    """Return the child zone that an active allocation should have."""
    zone = allocation.fqdn + "."
    hosts = tuple(f"{nameserver}." for nameserver in nameservers)
    apex = RRset(name=zone, type="NS", ttl=TTL_SECONDS, contents=hosts)
    return Wanted(
        zone=zone,
        owner=OWNER_PREFIX + allocation.id.hex,
        soa=soa(zone, hosts[0]),
        rrsets=(apex, *_addresses(zone, allocation.load_balancer_ips)),
        imports=allocation.imports,
        nameservers=hosts,
        known_ds=allocation.dns.ds,
        delegated=allocation.mode is Mode.POOL,
        announced=None if allocation.mode is Mode.POOL else allocation.announce_ds,
    )


def holding_of(account: str) -> UUID | None:
    """Return the id of the allocation that a zone was made for, by its mark; None where it has none of ours."""
    if not account.startswith(OWNER_PREFIX):
        return None
    try:
        return UUID(account.removeprefix(OWNER_PREFIX))
    except ValueError:
        return None


def announcements(zone: str, keys: Iterable[tuple[str, str]], *, wanted: bool) -> tuple[RRset, RRset]:
    """Return CDS and CDNSKEY of a zone's keys, (DS, DNSKEY) each; without contents they are deleted (RFC 7344)."""
    pairs = tuple(keys) if wanted else ()
    return (
        RRset(name=zone, type="CDS", ttl=TTL_SECONDS, contents=tuple(ds for ds, _ in pairs)),
        RRset(name=zone, type="CDNSKEY", ttl=TTL_SECONDS, contents=tuple(key for _, key in pairs)),
    )


def soa(zone: str, primary: str) -> RRset:
    """Return the SOA of a new zone; the serial is PowerDNS's to count (RFC 2308: minimum = negative TTL)."""
    content = f"{primary} hostmaster.{zone} 0 10800 3600 604800 {NEGATIVE_TTL_SECONDS}"
    return RRset(name=zone, type="SOA", ttl=TTL_SECONDS, contents=(content,))


def delegation(fqdn: str, nameservers: tuple[str, ...], ds: tuple[str, ...]) -> tuple[RRset, RRset]:
    """Return NS and DS of a child for its parent zone; without contents they are deleted there."""
    hosts = tuple(f"{nameserver}." for nameserver in nameservers)
    name = fqdn + "."
    return (
        RRset(name=name, type="NS", ttl=TTL_SECONDS, contents=hosts),
        RRset(name=name, type="DS", ttl=TTL_SECONDS, contents=ds),
    )


def is_delegated(fqdn: str, nameservers: tuple[str, ...], ds: Iterable[str], parent: Iterable[RRset]) -> bool:
    """Return whether a parent zone's RRsets delegate a child exactly so."""
    present = {(rrset.name, rrset.type): rrset for rrset in parent}
    return all(rrset.same(present.get((rrset.name, rrset.type))) for rrset in delegation(fqdn, nameservers, tuple(ds)))


def plan(want: Wanted, seen: Observed) -> Replace | Patch | None:
    """Decide what an existing zone needs to become the wanted one; None means nothing.

    A zone is ours if it carries our mark, or the keys that we published. Of such a zone only the
    apex NS and the canonical names' addresses are changed, and until it is published first the imported RRsets
    written; a canonical name where a LUA RRset stands belongs to its controller.
    """
    present = {(rrset.name, rrset.type): rrset for rrset in seen.rrsets}
    whole = (want.zone, "SOA") in present and bool(seen.ds)
    ours = seen.account == want.owner or bool(set(want.known_ds) & set(seen.ds))
    if not (whole and ours):
        return Replace()
    steered = _steered(seen)
    target = {(rrset.name, rrset.type): rrset for rrset in expected(want, seen)}
    changed = [rrset for key, rrset in target.items() if not rrset.same(present.get(key))]
    surplus = [
        RRset(name=name, type=rtype, ttl=TTL_SECONDS, contents=())
        for name in canonical_names(want.zone)
        for rtype in ADDRESS_TYPES
        if (name, rtype) in present and (name, rtype) not in target and name not in steered
    ]
    copied = tuple(one for one in want.imports if not one.same(present.get((one.name, one.type))))
    found = Patch((*changed, *surplus), () if want.known_ds else copied)
    return found if found.rrsets or found.imports else None


def expected(want: Wanted, seen: Observed) -> tuple[RRset, ...]:
    """Return the RRsets that the nameservers have to answer with: all that is wanted, but where a LUA RRset stands."""
    steered = _steered(seen)
    return tuple(rrset for rrset in want.rrsets if rrset.type not in ADDRESS_TYPES or rrset.name not in steered)


def _steered(seen: Observed) -> set[str]:
    return {rrset.name for rrset in seen.rrsets if rrset.type == "LUA"}


def is_foreign(want: Wanted, seen: Observed) -> bool:
    """Return whether a zone was made by others than this service, so that it is not ours to take away.

    Below a pool domain there is nobody else, and what stands there is a leftover.
    """
    return not want.delegated and not seen.account.startswith(OWNER_PREFIX)


def canonical_names(zone: str) -> tuple[str, ...]:
    """Return the names of the canonical record set, with a trailing dot where `zone` has one."""
    return tuple(f"{label}.{zone}" if label else zone for label in CANONICAL_LABELS)


def _addresses(zone: str, addresses: Iterable[str]) -> Iterable[RRset]:
    by_type: dict[str, list[str]] = {}
    for address in addresses:
        by_type.setdefault("A" if ip_address(address).version == 4 else "AAAA", []).append(address)
    for name in canonical_names(zone):
        for rtype, contents in by_type.items():
            yield RRset(name=name, type=rtype, ttl=TTL_SECONDS, contents=tuple(contents))
