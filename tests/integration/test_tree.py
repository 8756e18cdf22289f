"""The DNS tree and the nameservers that misbehave: what the tests of delegations stand on."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from pdm_service.dev.process import start_child
from pdm_service.dev.servers import Postgres, free_port, load_schema
from tests import faulty
from tests.dns_view import secure
from tests.eventually import eventually
from tests.faulty import Behaviour, Faulty
from tests.patience import patient
from tests.tree import OLD_NAMES, PLATFORM_NAMES, TLD, TLD_NAMES, Authority, Tree, Zones, answers, ask, rr, soa

ROOT = Path(__file__).parents[2]
OLD_WEB, NEW_WEB = "192.0.2.1", "192.0.2.2"
WRONG_DS = f"12345 13 2 {'ab' * 32}"
NET_BIND_SERVICE = 1 << 10  # capabilities(7)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives its servers another account")

# A process with one of the tree's servers, that tells its id and then waits to be killed.
FAMILY = """
import sys, time
from pathlib import Path
from tests.tree import Authority

where, dsn, port, address = sys.argv[1:]
server = Authority(Path(where), dsn, int(port), 53, api_key="k", addresses=[address])
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def signed(tree: Tree, domain: str) -> str:
    """A signed domain at the old provider, its DS in the TLD."""
    ds = tree.old_zone(domain, rr(domain, "A", OLD_WEB, ttl=1), signed=True)
    tree.delegate(domain, OLD_NAMES, ds)
    return domain


@pytest.fixture
def unsigned(tree: Tree, domain: str) -> str:
    """An unsigned domain at the old provider, to which the platform has a successor."""
    tree.old_zone(domain, rr(domain, "A", OLD_WEB, ttl=1))
    tree.delegate(domain, OLD_NAMES)
    apex = [soa(domain, PLATFORM_NAMES[0]), rr(domain, "NS", *(f"{name}." for name in PLATFORM_NAMES), ttl=2)]
    Zones(tree.ours).create(domain, [*apex, rr(domain, "A", NEW_WEB, ttl=1)])
    return domain


def referral(server: Authority, name: str) -> list[str]:
    """The nameservers to which a server of the TLD sends whoever asks for a name."""
    reply = ask(server.addresses[0], name, "A")
    assert not reply.flags & dns.flags.AA
    found = [rrset for rrset in reply.authority if rrset.rdtype == dns.rdatatype.NS]
    return sorted(rdata.to_text().rstrip(".") for rrset in found for rdata in rrset)


# --- the tree -----------------------------------------------------------------------------------------


def test_signed_domain_is_secure(tree: Tree, signed: str) -> None:
    """The resolver walks from the root to a signed domain and finds it secure."""
    assert tree.secure(signed, "A") == ("NOERROR", [OLD_WEB], True)


def test_unsigned_domain_is_insecure(tree: Tree, unsigned: str) -> None:
    """A domain without DS is answered without AD."""
    assert tree.secure(unsigned, "A") == ("NOERROR", [OLD_WEB], False)


def test_wrong_ds_is_bogus(tree: Tree, signed: str) -> None:
    """A DS that is of no key of the zone makes the domain fail for all who validate."""
    tree.delegate(signed, OLD_NAMES, [WRONG_DS])
    assert tree.secure(signed, "A") == ("SERVFAIL", [], False)


def test_ds_of_an_unsigned_zone_is_bogus(tree: Tree, unsigned: str) -> None:
    """A DS above a zone without signatures makes the domain fail."""
    tree.delegate(unsigned, OLD_NAMES, [WRONG_DS])
    assert tree.secure(unsigned, "A") == ("SERVFAIL", [], False)


def test_no_delegation_is_denied_securely(tree: Tree, domain: str) -> None:
    """That a name is not delegated is proven by the TLD."""
    assert tree.secure(domain, "A") == ("NXDOMAIN", [], True)


def test_names_have_their_addresses(tree: Tree) -> None:
    """The nameservers' names resolve, securely, to addresses of their own."""
    servers = {OLD_NAMES: tree.old.addresses, PLATFORM_NAMES: tree.ours.addresses}
    servers[TLD_NAMES] = tuple(server.addresses[0] for server in tree.tlds)
    pairs = [pair for names, addresses in servers.items() for pair in zip(names, addresses, strict=True)]
    assert len({address for _, address in pairs}) == len(pairs)
    for name, address in pairs:
        assert tree.secure(name, "A") == ("NOERROR", [address], True)


def test_both_addresses_of_the_platform_answer(tree: Tree, unsigned: str) -> None:
    """The platform's two nameservers both serve its zones."""
    assert [answers(address, unsigned, "A") for address in tree.ours.addresses] == [[NEW_WEB], [NEW_WEB]]


def test_delegation_is_seen_at_once(tree: Tree, unsigned: str) -> None:
    """What the registry writes and takes away, the TLD's servers tell with the next answer."""
    for server in tree.tlds:
        assert referral(server, unsigned) == list(OLD_NAMES)
    tree.delegate(unsigned, [])
    for server in tree.tlds:
        assert ask(server.addresses[0], unsigned, "A").rcode() == dns.rcode.NXDOMAIN


def test_tld_servers_may_disagree(tree: Tree, unsigned: str) -> None:
    """The TLD's servers tell different delegations, each signed by the one key of the zone."""
    tree.delegate(unsigned, PLATFORM_NAMES, [WRONG_DS], only=1)
    first, second = tree.tlds
    assert (referral(first, unsigned), referral(second, unsigned)) == (list(OLD_NAMES), list(PLATFORM_NAMES))
    zone = dns.name.from_text(TLD)
    keys = ask(first.addresses[0], TLD, "DNSKEY").find_rrset(dns.message.ANSWER, zone, "IN", "DNSKEY")
    reply = ask(second.addresses[0], unsigned, "DS")
    found, signature = sorted(reply.answer, key=lambda rrset: rrset.rdtype)
    dns.dnssec.validate(found, signature, {zone: keys})
    assert [rdata.to_text() for rdata in found] == [WRONG_DS]


def test_ttls_of_a_delegation(tree: Tree, signed: str) -> None:
    """The TTLs of a delegation are short, and others where a test wants them."""

    def ttls() -> set[tuple[str, int]]:
        reply = ask(tree.tlds[0].addresses[0], signed, "A")
        kinds = (dns.rdatatype.NS, dns.rdatatype.DS)
        return {(dns.rdatatype.to_text(one.rdtype), one.ttl) for one in reply.authority if one.rdtype in kinds}

    assert ttls() == {("NS", 2), ("DS", 1)}
    tree.delegate(signed, OLD_NAMES, [WRONG_DS], ttl=70, ds_ttl=80)
    assert ttls() == {("NS", 70), ("DS", 80)}


def test_glue_below_the_domain(tree: Tree, domain: str) -> None:
    """A nameserver below its own domain is reached by the address that the TLD has for it."""
    name = f"ns.{domain}"
    tree.old_zone(domain, rr(name, "A", tree.old.addresses[0]), rr(domain, "A", OLD_WEB), names=[name])
    tree.delegate(domain, [name])
    tree.host(name, tree.old.addresses[0])
    assert tree.secure(domain, "A") == ("NOERROR", [OLD_WEB], False)


def test_cache_keeps_what_its_ttl_says(tree: Tree, unsigned: str) -> None:
    """A warm cache goes on with the old answer while a cold one has the new."""
    name = f"kept.{unsigned}"
    tree.old_patch(unsigned, rr(name, "A", OLD_WEB, ttl=600))
    assert tree.secure(name, "A")[1] == [OLD_WEB]
    tree.old_patch(unsigned, rr(name, "A", NEW_WEB, ttl=600))
    assert tree.secure(name, "A")[1] == [OLD_WEB]
    assert secure(tree.cold_resolver().port, name, "A")[1] == [NEW_WEB]


def test_cache_follows_a_flip(tree: Tree, unsigned: str) -> None:
    """Soon after a domain is delegated elsewhere, a warm cache asks there."""
    assert tree.secure(unsigned, "A")[1] == [OLD_WEB]
    tree.delegate(unsigned, PLATFORM_NAMES)
    eventually(lambda: tree.secure(unsigned, "A")[1] == [NEW_WEB])


@needs_root
def test_servers_are_unprivileged(tree: Tree) -> None:
    """The tree's servers run as another account, which may bind port 53 and nothing else of root's."""
    for server in (tree.root, *tree.tlds, tree.old, tree.ours):
        lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert "0" not in status["Uid"].split() + status["Gid"].split()
        assert int(status["CapEff"], 16) == NET_BIND_SERVICE


def test_servers_die_with_the_tests(tree: Tree, directory: Path, postgres: Postgres) -> None:
    """After a kill -9 of the process that started it, a server of the tree is gone."""
    postgres.create_database("tree_orphan")
    load_schema(postgres.dsn("tree_orphan"))
    place = [directory / "tree-orphan", postgres.dsn("tree_orphan"), str(free_port()), tree.address()]
    with start_child([sys.executable, "-c", FAMILY, *place], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        try:
            server = Path("/proc", parent.stdout.readline().decode().strip(), "stat")
            assert "(pdns_server)" in server.read_text()
        finally:
            parent.kill()
    # Where nothing reaps orphans, a zombie stays for ever and means nothing.
    eventually(lambda: not server.exists() or server.read_text().rpartition(")")[2].split()[0] in "ZX")


# --- nameservers that misbehave -----------------------------------------------------------------------


@pytest.fixture
def server(tree: Tree, domain: str, request: pytest.FixtureRequest) -> Iterator[Faulty]:
    """A nameserver of a domain, that behaves as the test says."""
    behave, tcp = request.param
    made = Faulty(tree.address(), domain, OLD_NAMES, behave, tcp=tcp)
    yield made
    made.stop()


def heard(server: Faulty, *, tcp: bool, edns: bool = True, seconds: float = 0.4) -> str:
    """What comes back for the SOA: the rcode, the flags AA and TC, the first record's type; or what goes wrong."""
    query = dns.message.make_query(server.zone, "SOA", flags=0, use_edns=0 if edns else False)
    send = dns.query.tcp if tcp else dns.query.udp
    try:
        reply = send(query, server.address, timeout=patient(seconds))
    except (OSError, EOFError, dns.exception.DNSException) as error:
        return type(error).__name__
    flags = [flag.name for flag in (dns.flags.AA, dns.flags.TC) if reply.flags & flag]
    types = [dns.rdatatype.to_text(rrset.rdtype) for rrset in (*reply.answer, *reply.authority)]
    return " ".join([dns.rcode.to_text(reply.rcode()), *flags, *types])


GOOD = "NOERROR AA SOA"
HEARD: list[tuple[Behaviour, bool, str, str]] = [
    (faulty.well, True, GOOD, GOOD),
    (faulty.well, False, GOOD, "ConnectionRefusedError"),
    (faulty.code("REFUSED"), True, "REFUSED", "REFUSED"),
    (faulty.code("SERVFAIL"), True, "SERVFAIL", "SERVFAIL"),
    (faulty.not_authoritative, True, "NOERROR SOA", "NOERROR SOA"),
    (faulty.silent, True, "Timeout", "Timeout"),
    (faulty.silent_udp, True, "Timeout", GOOD),
    (faulty.truncating, True, "NOERROR AA TC", GOOD),
    (faulty.truncating, False, "NOERROR AA TC", "ConnectionRefusedError"),
    (faulty.upward, True, "NOERROR NS", "NOERROR NS"),
    (faulty.garbage, True, "BadResponse", "BadResponse"),
    (faulty.other_question, True, "BadResponse", "BadResponse"),
    (faulty.no_bytes, True, "ShortHeader", "ShortHeader"),
    (faulty.no_edns, True, "FORMERR", "FORMERR"),
]


@pytest.mark.parametrize(
    ("server", "udp", "tcp"),
    [((behave, tcp), *said) for behave, tcp, *said in HEARD],
    indirect=["server"],
)
def test_behaviour(server: Faulty, udp: str, tcp: str) -> None:
    """Each kind of misbehaviour looks to a client as it is meant to, by UDP and by TCP."""
    assert (heard(server, tcp=False), heard(server, tcp=True)) == (udp, tcp)


@pytest.mark.parametrize("server", [(faulty.no_edns, True)], indirect=True)
def test_without_edns(server: Faulty) -> None:
    """A server that knows no EDNS answers a question without it (RFC 6891 section 7)."""
    assert heard(server, tcp=False, edns=False) == GOOD


@pytest.mark.parametrize("server", [(faulty.slow(0.5), True)], indirect=True)
def test_slow(server: Faulty) -> None:
    """A slow server answers properly, and not before its time."""
    begun = time.monotonic()
    assert heard(server, tcp=False, seconds=5) == GOOD
    assert 0.5 <= time.monotonic() - begun


@pytest.mark.parametrize("server", [(faulty.well, True)], indirect=True)
def test_behaviour_changes(server: Faulty) -> None:
    """A server changes its ways while it runs, and counts what it was asked."""
    assert heard(server, tcp=False) == GOOD
    server.behave = faulty.code("REFUSED")
    assert heard(server, tcp=False) == "REFUSED"
    assert server.seen == 2


@pytest.mark.parametrize("server", [(faulty.well, True)], indirect=True)
def test_stopped(server: Faulty) -> None:
    """A server that was stopped leaves its address to the next."""
    server.stop()
    assert heard(server, tcp=True) == "ConnectionRefusedError"
    again = Faulty(server.address, str(server.zone), OLD_NAMES)
    assert heard(again, tcp=True) == GOOD
    again.stop()
