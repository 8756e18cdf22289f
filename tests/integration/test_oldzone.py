"""What a zone holds, found by asking its nameservers."""

from collections.abc import Iterator, Sequence

import dns.message
import pytest

from pdm_service import dns_client
from pdm_service.byo.old_zone import Ask, Scan, questions
from pdm_service.delegations.prober import Prober
from pdm_service.model.observation import OldZone
from pdm_service.model.records import Nameserver
from tests import faulty
from tests.faulty import Faulty
from tests.tree import OLD_NAMES, Tree, rr

RECORDS = (
    ("", "A", "192.0.2.1"), ("", "MX", "10 mx.example.net."), ("", "TXT", '"v=spf1 -all"'), ("www", "CNAME", "x.example.net."),
    ("shop", "AAAA", "2001:db8::1"), ("_dmarc", "TXT", '"v=DMARC1"'), ("google._domainkey", "TXT", '"k=rsa"'),
    ("_sip._tls", "SRV", "1 1 443 sip.example.net."), ("dev", "NS", "ns1.example.net."), ("", "CAA", '0 issue "example.net"'),
)  # fmt: skip


def asking(tree: Tree) -> tuple[Prober, Ask]:
    prober = Prober(hints=(), port=53, addresses=(), allow_private=True)
    round_ = prober.round(30, 600)

    async def ask(address: str, name: str, rtype: str, *, tcp: bool) -> dns.message.Message:
        return await round_.ask(Nameserver("x", address, 53), name, rtype, tcp=tcp, dnssec=False, tries=(1.5,))

    return prober, ask


async def scan(domain: str, addresses: Sequence[str], ask: Ask, *more: Sequence[str]) -> OldZone:
    """What there is at these addresses, which have one version of the zone, and at `more`, which have others."""
    one = Scan(domain, [addresses, *more])
    await one.run(ask)
    return one.zone()


@pytest.fixture
def held(tree: Tree, domain: str) -> str:
    tree.old_zone(
        domain, *(rr(f"{label}.{domain}" if label else domain, rtype, content) for label, rtype, content in RECORDS)
    )
    return domain


async def test_usual_names(tree: Tree, held: str) -> None:
    """Mail, web, policies, services and delegations are found, whichever address is asked."""
    _, ask = asking(tree)
    found = await scan(held, tree.old.addresses, ask)
    expected = {(f"{label}.{held}." if label else f"{held}.", rtype) for label, rtype, _ in RECORDS}
    assert expected <= {(one.name, one.type) for one in found.rrsets}
    assert {one.type for one in found.rrsets} - {rtype for _, rtype, _ in RECORDS} == {"SOA"}
    (mx,) = [one for one in found.rrsets if one.type == "MX"]
    assert (mx.contents, mx.ttl) == (("10 mx.example.net.",), 60)
    assert (found.unanswered, found.wildcard, set(found.asked)) == ((), False, set(tree.old.addresses))
    assert len(questions(held)) <= 140


async def test_wildcard(tree: Tree, domain: str) -> None:
    """Answers that come of a wildcard are told as one, and not name by name."""
    tree.old_zone(domain, rr(f"*.{domain}", "A", "192.0.2.7"), rr(f"www.{domain}", "A", "192.0.2.8"))
    _, ask = asking(tree)
    found = await scan(domain, tree.old.addresses, ask)
    assert found.wildcard
    assert [(one.name, one.contents) for one in found.rrsets if one.type == "A"] == [
        (f"*.{domain}.", ("192.0.2.7",)), (f"www.{domain}.", ("192.0.2.8",)),
    ]  # fmt: skip


@pytest.fixture
def dead(tree: Tree, held: str) -> Iterator[Faulty]:
    made = Faulty(tree.address(), held, OLD_NAMES, faulty.silent)
    yield made
    made.stop()


async def test_dead_nameserver(tree: Tree, held: str, dead: Faulty) -> None:
    """One that does not answer spoils nothing; where none answers that is told."""
    _, ask = asking(tree)
    found = await scan(held, (dead.address, *tree.old.addresses), ask)
    assert (f"{held}.", "MX") in {(one.name, one.type) for one in found.rrsets}
    assert dead.address not in found.asked
    nothing = await scan(held, (dead.address,), ask)
    assert (nothing.rrsets, nothing.asked) == ((), ())
    assert {(one.name, one.type) for one in nothing.unanswered} >= {
        (f"{name}.", rtype) for name, rtype in questions(held)
    }


async def test_transfer(tree: Tree, held: str, dead: Faulty) -> None:
    """Whether a nameserver gives the whole zone away is found out by asking for it."""
    assert await dns_client.transfers(held, Nameserver("x", tree.old.addresses[0], 53), 3)
    assert not await dns_client.transfers(held, Nameserver("x", "127.0.0.1", 9), 3)
    assert not await dns_client.transfers(held, Nameserver("x", dead.address, 53), 3)
