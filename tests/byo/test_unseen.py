"""Unanswered is not absent: however a customer's nameservers fail, no mail is lost by a change that did not name it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from adapters.conformance.played import Server
from tests import faulty
from tests.byo.conftest import Byo, Registry, at
from tests.eventually import eventually
from tests.faulty import Fault, Faulty
from tests.patience import patient
from tests.service import Service
from tests.tree import Tree, answers, rr

MAIL = (("", "MX", "10 mx.example.net."), ("", "TXT", '"v=spf1 mx -all"'), ("_dmarc", "TXT", '"v=DMARC1; p=reject"'))


class Old:
    """Two nameservers of the old provider, in front of its real one, and what they are called."""

    def __init__(self, tree: Tree, domain: str, registrar: Server) -> None:
        self.tree, self.domain, self.registrar = tree, domain, registrar
        self.servers: list[Faulty] = []
        web = [rr(domain, "A", "192.0.2.1", ttl=2)]
        mail = [rr(f"{label}.{domain}" if label else domain, rtype, text, ttl=2) for label, rtype, text in MAIL]
        self.names = [f"ns{number}.x{domain}" for number in (1, 2)]
        tree.old_zone(domain, *web, *mail, names=self.names)

    def serve(self, *faults: Fault, tcp: bool = True) -> None:
        """Have one nameserver for each fault."""
        for name, fault in zip(self.names, faults, strict=True):
            behave = faulty.through(self.tree.old.addresses[0], fault)
            server = Faulty(self.tree.address(), self.domain, tuple(self.names), behave, tcp=tcp)
            self.servers.append(server)
            self.tree.host(name, server.address)
        self.registrar.domains[self.domain].nameservers = list(self.names)
        self.tree.delegate(self.domain, self.names)


@pytest.fixture
def old(tree: Tree, domain: str, registrar: Server) -> Iterator[Old]:
    made = Old(tree, domain, registrar)
    yield made
    for server in made.servers:
        server.stop()


@pytest.fixture
def customer(domain: str) -> str:
    """Nobody serves the domain before a test says how."""
    return domain


def problems(api: Byo) -> dict[str, str]:
    """What the pre-flight says, by code."""
    body = {"registrar": api.credential["registrar"], "domain": api.domain, "token": api.credential["registrarToken"]}
    found = api.post("/v1/validate", **body).raise_for_status().json().get("problems", [])
    return {one["code"]: f"{one['severity']}: {one['seen']}" for one in found}


def named(api: Byo) -> dict[str, str]:
    """The findings once mail is named; until then it must be named as unseen, and in the way."""

    def mail() -> dict[str, str] | None:
        found = problems(api)
        if "BYO-OLD-MAIL" in found:
            return found
        assert found["BYO-OLD-UNSEEN"].startswith("block"), found
        return None

    return eventually(mail, 30)


FAULTS: dict[str, tuple[Fault, Fault]] = {
    "healthy": (faulty.healthy, faulty.healthy),
    "FORMERR to EDNS": (faulty.formerr_to_edns, faulty.formerr_to_edns),
    "rate limited, slip 0": (faulty.rate_limited(0), faulty.rate_limited(0)),
    "rate limited, slip 2": (faulty.rate_limited(2), faulty.rate_limited(2)),
    "every tenth answer lost": (faulty.lossy, faulty.lossy),
    "600 ms": (faulty.late(0.6), faulty.late(0.6)),
    "half of them SERVFAIL": (faulty.servfail_but_for_the_apex, faulty.healthy),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
def test_mail_is_named(api: Byo, old: Old, registry: Registry, faults: tuple[Fault, Fault]) -> None:
    """The commit that does not acknowledge mail is refused, whatever the old nameservers do; one that does goes through."""
    registry.paused = True
    old.serve(*faults)
    api.reserve("byo-api")
    refused = api.flip()
    assert (refused.status_code, refused.json()["error"]) == (409, "preflight-blocked"), refused.text
    assert {one["code"] for one in refused.json()["problems"]} <= {"BYO-OLD-MAIL", "BYO-OLD-UNSEEN"}
    found = named(api)
    for label, rtype, _ in MAIL:
        if rtype == "MX" or label:
            assert f"{label}.{old.domain} {rtype}".lstrip(".") in found["BYO-OLD-MAIL"]
    assert old.registrar.writes == []
    agreed = ("BYO-OLD-WEB", "BYO-OLD-MAIL")
    eventually(lambda: api.flip(acknowledge=agreed).status_code == 200, 30)


def test_what_is_not_answered_at_all(api: Byo, old: Old, registry: Registry) -> None:
    """Where servers answer SERVFAIL to all but SOA and NS, nothing is known, and nobody's word makes it known."""
    old.serve(faulty.servfail_but_for_the_apex, faulty.servfail_but_for_the_apex)
    api.reserve("byo-api")
    found = problems(api)
    assert found["BYO-OLD-UNSEEN"].startswith("block")
    assert f"{old.domain} MX" in found["BYO-OLD-UNSEEN"]
    refused = api.flip(acknowledge=("BYO-OLD-UNSEEN", "BYO-OLD-MAIL", "BYO-OLD-WEB"))
    assert (refused.status_code, [one["code"] for one in refused.json()["problems"]]) == (409, ["BYO-OLD-UNSEEN"])
    assert old.registrar.writes == []


def test_what_was_not_answered_is_asked_again(api: Byo, old: Old, registry: Registry) -> None:
    """Whoever tries again has asked again what had no answer, also of a scan that took longer than its request."""
    broken = threading.Event()
    broken.set()
    asked: Counter[dns.rdatatype.RdataType] = Counter()

    def fault(
        query: dns.message.Message, tcp: bool, real: Callable[[], dns.message.Message]
    ) -> dns.message.Message | None:
        rdtype = query.question[0].rdtype
        asked[rdtype] += 1
        if rdtype == dns.rdatatype.MX and broken.is_set():
            return faulty.servfail_but_for_the_apex(query, tcp, real)
        return faulty.late(0.6)(query, tcp, real)

    old.serve(fault, fault)
    api.reserve("byo-api")

    def ended() -> bool:
        found = problems(api)["BYO-OLD-UNSEEN"]
        assert found.startswith("block"), found
        return "still being asked" not in found

    eventually(ended, 60)
    broken.clear()
    before = asked[dns.rdatatype.SRV]
    # The first may be answered while it is asked.
    assert any(f"{old.domain} MX" in problems(api)["BYO-OLD-MAIL"] for _ in range(2))
    assert asked[dns.rdatatype.SRV] == before, "what is known was asked again"


def test_nobody_answers(api: Byo, old: Old, registry: Registry) -> None:
    """Where none of the old nameservers answers anything, that is no empty zone."""
    old.serve(lambda *_: None, lambda *_: None)
    api.reserve("byo-api")
    found = problems(api)
    assert found["BYO-OLD-UNSEEN"].startswith("block: none of the current nameservers answers")
    assert api.flip(acknowledge=("BYO-OLD-UNSEEN",)).status_code == 409


def without_mail(query, tcp, real):  # type: ignore[no-untyped-def]
    """Serve another version of the zone, which has nothing but its apex."""
    reply = real()
    for rrset in reply.answer:
        if rrset.rdtype == 6:
            reply.answer = [faulty.dns.rrset.from_text(rrset.name, 60, "IN", "SOA", "a. b. 99 1 1 1 1")]
            return reply
    reply.answer = []
    return reply


def test_versions_that_differ(api: Byo, old: Old, registry: Registry, tree: Tree) -> None:
    """What only one of two versions of the zone has is seen, whichever server is asked first."""

    old.serve(without_mail, faulty.healthy)
    api.reserve("byo-api")
    assert {one["code"] for one in api.flip().json()["problems"]} == {"BYO-OLD-MAIL"}


def test_tcp_is_closed(api: Byo, old: Old, registry: Registry) -> None:
    """Without TCP what fits into a datagram is seen; what does not is unseen, and mail among it stops the change."""
    texts = [f'"{number}-{"x" * 200}"' for number in range(12)]
    old.tree.old_patch(old.domain, rr(old.domain, "TXT", *texts, '"v=spf1 -all"', ttl=2))
    old.serve(faulty.healthy, faulty.healthy, tcp=False)
    api.reserve("byo-api")
    found = problems(api)
    assert "BYO-OLD-MAIL" in found
    assert found["BYO-OLD-UNSEEN"].startswith("block"), found
    assert f"{old.domain} TXT" in found["BYO-OLD-UNSEEN"]


def test_proof_at_nameservers_without_edns(
    new_byo_service: Callable[..., Service], old: Old, tree: Tree, registrar: Server
) -> None:
    """The TXT record is seen at nameservers that answer FORMERR to EDNS, too."""
    old.serve(faulty.formerr_to_edns, faulty.formerr_to_edns)
    byo = Byo(new_byo_service(**at(registrar)).start(), tree, old.domain)
    byo.reserve()
    byo.prove()
    assert byo.commit().status_code == 200


class Witness:
    """Somebody who asks a validating resolver for a domain's MX all the while, and remembers each answer."""

    def __init__(self, tree: Tree, domain: str) -> None:
        self._port, self._domain = tree.resolver.port, domain
        self.lost: list[str] = []
        """Answers that say that there is no MX: mail goes elsewhere, or nowhere."""
        self.seen: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.1):
            query = dns.message.make_query(self._domain, "MX", use_edns=0, payload=1232, flags=dns.flags.RD)
            try:
                reply = dns.query.udp(query, "127.0.0.1", port=self._port, timeout=patient(5))
            except (OSError, dns.exception.DNSException):
                continue  # a sender tries again
            if reply.rcode() == dns.rcode.SERVFAIL:
                continue
            found = [one.to_text() for rrset in reply.answer if rrset.rdtype == dns.rdatatype.MX for one in rrset]
            (self.seen if found else self.lost).append(found[0] if found else str(reply))

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def witness(tree: Tree, old: Old) -> Iterator[Callable[[], Witness]]:
    made: list[Witness] = []

    def make() -> Witness:
        made.append(Witness(tree, old.domain))
        return made[-1]

    yield make
    for one in made:
        one.stop()


FLIPS: dict[str, tuple[tuple[Fault, Fault], bool]] = {
    **{name: (faults, True) for name, faults in FAULTS.items()},
    "TCP closed": ((faulty.healthy, faulty.healthy), False),
    "half dead": ((lambda *_: None, faulty.healthy), True),
    "one version without mail": ((faulty.healthy, without_mail), True),
}


@pytest.mark.parametrize(("faults", "tcp"), FLIPS.values(), ids=FLIPS.keys())
def test_mail_is_never_lost(
    api: Byo, old: Old, registry: Registry, witness: Callable[[], Witness], faults: tuple[Fault, Fault], tcp: bool
) -> None:
    """Whoever imports the mail that was named, and acknowledges all else, loses none of it at any moment of the flip."""
    old.serve(*faults, tcp=tcp)
    api.reserve("byo-api")
    named(api)
    seen = witness()
    mail = [{"name": f"{label}.{old.domain}".lstrip("."), "type": rtype} for label, rtype, _ in MAIL]
    agreed = ("BYO-OLD-WEB", "BYO-OLD-UNSEEN")

    def flipped() -> bool:
        reply = api.flip(acknowledge=agreed, **{"import": mail})
        # Not all of it has been answered yet; nothing is changed before it is.
        assert reply.status_code == 200, reply.text
        return True

    eventually(flipped, 40)
    api.phase("live")
    before = len(seen.seen)
    eventually(lambda: len(seen.seen) > before + 3, 20)
    # What a version without mail, or a cache of it, says is not the change's doing.
    if without_mail not in faults:
        assert seen.lost == []
    assert answers(api.tree.ours.addresses[0], old.domain, "MX") == ["10 mx.example.net."]
