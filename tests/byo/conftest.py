"""A service that serves customers' domains from the tree, and a domain of a customer's."""

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.conformance.played import Domain, Server
from tests.eventually import eventually
from tests.registrars import play
from tests.service import ADDRESS, Service
from tests.tree import OLD_NAMES, PLATFORM_NAMES, Tree, answers, rr

SETTINGS = {
    "PDM_NAMESERVERS": ",".join(PLATFORM_NAMES),
    "PDM_DNS_ALLOW_PRIVATE": "yes",
    "PDM_DELEGATION_INTERVAL": "1s",
    "PDM_RECONCILE_INTERVAL": "1s",
}


class Byo:
    """A running service, and what a caller says to it about one domain."""

    def __init__(self, service: Service, tree: Tree, domain: str) -> None:
        self.service = service
        self.tree = tree
        self.domain = domain
        self.token = ""
        self.credential: dict[str, str] = {}

    def post(self, path: str, **body: object) -> httpx.Response:
        return self.service.client.post(path, json=body)

    def reserve(self, mode: str = "byo-manual", **more: object) -> dict[str, Any]:
        reply = self.post("/v1/reserve", mode=mode, domain=self.domain, **more)
        assert reply.status_code == 201, reply.text
        self.token = reply.json()["reservationToken"]
        return reply.json()

    def commit(self, **more: object) -> httpx.Response:
        body = {"fqdn": self.domain, "reservationToken": self.token, "loadBalancerIP": ADDRESS, **more}
        return self.service.client.post("/v1/commit", json=body)

    def flip(self, *, acknowledge: tuple[str, ...] = ("BYO-OLD-WEB",), **more: object) -> httpx.Response:
        """Commit with the registrar's token."""
        return self.commit(**self.credential, acknowledge=list(acknowledge), **more)

    def undo(self) -> dict[str, Any]:
        return self.service.client.get(f"/v1/allocations/{self.domain}/undo").json()

    def get(self) -> dict[str, Any]:
        return self.service.client.get(f"/v1/allocations/{self.domain}").json()

    def renewed(self) -> dict[str, Any]:
        """The caller's own claim, also while others have one."""
        return self.post("/v1/renew", fqdn=self.domain, reservationToken=self.token).raise_for_status().json()

    def delegation(self, *, fresh: bool = False) -> dict[str, Any]:
        query = {"fresh": "true"} if fresh else {}
        return self.service.client.get(f"/v1/delegations/{self.domain}", params=query).raise_for_status().json()

    def phase(self, *phases: str, seconds: float = 25) -> dict[str, Any]:
        """Wait until the delegation is in one of these phases."""

        def look() -> dict[str, Any] | None:
            found = self.delegation()
            return found if found["phase"] in phases else None

        return eventually(look, seconds, f"{self.domain} to be {phases}; {self.delegation()}")

    def until(self, what: str, condition: Callable[[dict[str, Any]], object], seconds: float = 20) -> dict[str, Any]:
        """Wait until the allocation is as wanted."""
        return eventually(lambda: one if condition(one := self.get()) else None, seconds, f"{what}; {self.get()}")

    def served(self) -> bool:
        return answers(self.tree.ours.addresses[0], f"console.{self.domain}", "A") == [ADDRESS]

    def secured(self) -> bool:
        """A validating resolver finds the zone secure; each time by a name that it has no older verdict on."""
        return self.tree.secure(f"x{uuid.uuid4().hex[:8]}.{self.domain}", "A") == ("NOERROR", [ADDRESS], True)

    def prove(self) -> None:
        """Set the TXT record at the old provider."""
        challenge = self.renewed()["challenge"]
        self.tree.old_patch(self.domain, rr(challenge["name"], "TXT", f'"{challenge["value"]}"', ttl=1))

    def events(self) -> list[str]:
        found = self.service.client.get(f"/v1/allocations/{self.domain}/events", params={"limit": 500}).json()
        return [one["action"] for one in found["events"]]


class Registry:
    """Writes into the TLD what a played registrar has on record, as a registry does."""

    def __init__(self, tree: Tree, server: Server, domain: str, *, tag: str = "key_tag") -> None:
        """`tag` is what the registrar calls a DS's key tag."""
        self._tree, self._server, self._domain = tree, server, domain
        self._fields = (tag, "algorithm", "digest_type", "digest")
        self._last: object = None
        self._over = threading.Event()
        self.paused = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            one = self._server.domains[self._domain]
            ds = [" ".join(str(d[key]) for key in self._fields) for d in one.ds]
            now = (sorted(one.nameservers), sorted(ds))
            if now != self._last and not self.paused:
                self._tree.delegate(self._domain, *now)
                self._last = now

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def registrar(request: pytest.FixtureRequest, customer: str) -> Iterator[Server]:
    """A registrar that has the customer's domain, with the old provider's nameservers."""
    server = play(getattr(request, "param", "dynadot-api3"))
    server.domains[customer] = Domain(list(OLD_NAMES))
    yield server
    server.stop()
    assert server.wrong == []


@pytest.fixture
def registry(tree: Tree, registrar: Server, customer: str) -> Iterator[Registry]:
    """What the registrar has on record is in the TLD soon after."""
    made = Registry(tree, registrar, customer)
    yield made
    made.stop()


def at(registrar: Server) -> dict[str, str]:
    """The settings for a service that asks the played registrar."""
    return {f"PDM_REGISTRAR_{registrar.about.name.upper()}_URL": registrar.url}


@pytest.fixture
def api(new_byo_service: Callable[..., Service], tree: Tree, customer: str, registrar: Server) -> Byo:
    """A running service that can ask the registrar, and the customer's domain."""
    made = Byo(new_byo_service(**at(registrar)).start(), tree, customer)
    made.credential = {"registrar": registrar.about.name, "registrarToken": registrar.token}
    return made


@pytest.fixture
def customer(request: pytest.FixtureRequest, tree: Tree, domain: str) -> str:
    """A domain at the old provider with a web site; unsigned, unless the test says otherwise."""
    signed = getattr(request, "param", None) == "signed"
    web = [rr(name, "A", "192.0.2.1", ttl=2) for name in (domain, f"www.{domain}")]
    tree.delegate(domain, OLD_NAMES, tree.old_zone(domain, *web, signed=signed))
    return domain


@pytest.fixture
def new_byo_service(directory: Path, database_url: str, tree: Tree, pool: str) -> Iterator[Callable[..., Service]]:
    """Make replicas of a service whose platform is the tree's; all end with the test."""
    made: list[Service] = []
    addresses = ",".join(f"{name}={address}" for name, address in zip(PLATFORM_NAMES, tree.ours.addresses, strict=True))

    def make(**more: str) -> Service:
        settings = {"PDM_DNS_ROOT_HINTS": tree.hints(), "PDM_NAMESERVER_ADDRESSES": addresses, **SETTINGS, **more}
        made.append(Service(directory, database_url, tree.ours, pool, **settings))
        return made[-1]

    yield make
    for service in made:
        service.kill()
        service.client.close()
        defects = [line for line in service.lines() if "exception" in line]
        assert not defects, defects[0]["exception"][-3000:]


@pytest.fixture
def byo(new_byo_service: Callable[..., Service], tree: Tree, domain: str) -> Byo:
    """A running service, and the customer's domain."""
    return Byo(new_byo_service().start(), tree, domain)
