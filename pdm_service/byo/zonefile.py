"""Zone files (RFC 1035 section 5): what a customer gives, and what was found, to be looked through. Pure."""

import dns.exception
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer
import dns.zone
import dns.zonefile

from pdm_service.byo.imports import is_own, why_not
from pdm_service.errors import InvalidFormat
from pdm_service.model.observation import OldZone
from pdm_service.model.records import RRset

MAX_RECORDS = 1000
_MAX_LINES = 4 * MAX_RECORDS
_USUAL_TTL = 3600


def read(domain: str, text: str) -> tuple[RRset, ...]:
    """Return the RRsets of a domain's zone file, without those that sign the zone or hold it together.

    Names are relative to the domain; of the directives $ORIGIN and $TTL are known. Raises InvalidFormat for what cannot
    be read, and for more than 1,000 records.
    """
    if text.count("\n") > _MAX_LINES:
        raise InvalidFormat(f"importZonefile: takes {MAX_RECORDS} records at most")
    # From the root, since what lies outside of the domain would silently be left out.
    zone = dns.zone.Zone(dns.name.root, relativize=False)
    try:
        with zone.writer(replacement=True) as writer:
            tokens = dns.tokenizer.Tokenizer(text, filename="line")
            reader = dns.zonefile.Reader(
                tokens, dns.rdataclass.IN, writer, allow_directives=("$ORIGIN", "$TTL"), default_ttl=_USUAL_TTL
            )
            reader.current_origin = reader.last_name = dns.name.from_text(domain)
            reader.read()
    except (dns.exception.DNSException, ValueError) as failure:
        raise InvalidFormat(f"importZonefile: cannot be read: {str(failure)[:300]}") from None
    found = [
        RRset(
            name=name.to_text().lower(),
            type=dns.rdatatype.to_text(rdataset.rdtype),
            ttl=rdataset.ttl,
            contents=tuple(sorted(rdata.to_text() for rdata in rdataset)),
        )
        for name, rdataset in zone.iterate_rdatasets()
    ]
    if sum(len(one.contents) for one in found) > MAX_RECORDS:
        raise InvalidFormat(f"importZonefile: takes {MAX_RECORDS} records at most")
    return tuple(one for one in found if not is_own(f"{domain}.", one.name, one.type))


def write(old: OldZone) -> str:
    """Return what was found of a zone as a file that can be given back; what cannot be taken along is a comment."""
    apex = f"{old.domain}."
    lines = [
        f"; What was found of {old.domain}: never all that there is.",
        f"$ORIGIN {apex}",
    ]
    for rrset in old.rrsets:
        if is_own(apex, rrset.name, rrset.type):
            continue
        why = why_not(apex, rrset)
        records = [f"{rrset.name} {rrset.ttl} IN {rrset.type} {content}" for content in rrset.contents]
        lines += [f"; {record} ; {why}" for record in records] if why else records
    return "\n".join(lines) + "\n"
