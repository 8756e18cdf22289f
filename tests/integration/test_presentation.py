"""Records of every type that can be taken along are written as PowerDNS takes them, and answered as they were."""

import uuid
from collections.abc import Iterator

import dns.message
import dns.query
import dns.rdata
import dns.rdatatype
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pdm_service.byo.presentation import TYPES, canonical
from pdm_service.dev.servers import PowerDNS
from pdm_service.model.records import RRset
from tests.byo.odd_records import RECORDS, SINGLE
from tests.patience import patient
from tests.tree import Zones, rr, soa


@pytest.fixture
def zone(powerdns: PowerDNS) -> Iterator[str]:
    name = f"z{uuid.uuid4().hex[:8]}.test"
    Zones(powerdns).create(name, [soa(name, "ns1.example.net")], signed=False)
    yield name
    Zones(powerdns).delete(name)


@pytest.mark.parametrize("rtype", sorted(RECORDS))
def test_every_type(powerdns: PowerDNS, zone: str, rtype: str) -> None:
    """PowerDNS takes each record as it is written here, and answers with what was meant."""
    zones = Zones(powerdns)
    most = 1 if rtype in SINGLE else 4

    @settings(
        max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(contents=st.lists(RECORDS[rtype], min_size=1, max_size=most, unique=True))
    def taken(contents: list[str]) -> None:
        texts = tuple(dns.rdata.from_text("IN", rtype, content).to_text() for content in contents)
        name = f"x{uuid.uuid4().hex[:8]}.{zone}"
        written = canonical(RRset(name=f"{name}.", type=rtype, ttl=60, contents=texts))
        zones.patch(zone, [rr(name, rtype, *written.contents)])
        query = dns.message.make_query(name, rtype, flags=0)
        reply = dns.query.tcp(query, "127.0.0.1", port=powerdns.dns_port, timeout=patient(5))
        section = reply.authority if rtype == "NS" else reply.answer
        found = {one.to_text() for rrset in section for one in rrset if dns.rdatatype.to_text(one.rdtype) == rtype}
        assert found == set(texts), written

    taken()


def test_every_type_is_tried() -> None:
    """A type that can be taken along has odd records above; a DS comes with its delegation."""
    assert set(RECORDS) | {"DS"} == TYPES
