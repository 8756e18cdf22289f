"""The typed client against the real service, and behind a network that loses what it carries."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from pdm_service import errors
from pdm_service.client import Client, Unreachable
from pdm_service.dev.servers import PowerDNS
from tests.service import ADDRESS, Service, name


class Network:
    """Passes connections on to the service; the next so many lose the reply, or are refused."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.losing = 0
        self.carried = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", self._target))
        threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()
        with near, far:
            while answer := far.recv(65536):
                self.carried += 1
                if self.losing:
                    self.losing -= 1
                    near.shutdown(socket.SHUT_RDWR)
                    return
                near.sendall(answer)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while request := near.recv(65536):
                far.sendall(request)
            far.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._socket.close()


@pytest.fixture
def network(service: Service) -> Iterator[Network]:
    made = Network(service.port)
    yield made
    made.stop()


def client(port: int, seconds: float = 10) -> Client:
    return Client(f"http://127.0.0.1:{port}", retry_seconds=seconds)


async def test_life_of_a_name(service: Service) -> None:
    """Every verb of a pool name's life, typed."""
    label = name()
    async with client(service.port) as pdm:
        assert (await pdm.check(service.pool, label)).available
        held = await pdm.reserve(service.pool, label, created_by="test", ttl_seconds=60, tenant="acme")
        token = held.reservation_token or ""
        assert (await pdm.renew(held.fqdn, token, ttl_seconds=600)).expires_at > held.expires_at  # type: ignore[operator]
        active = await pdm.commit(held.fqdn, token, [ADDRESS], sovereign_fqdn="a.example")
        assert (active.state, active.dns.state) == ("active", "published")
        assert (await pdm.find(held.fqdn)).sovereign_fqdn == "a.example"
        assert held.fqdn in [one.fqdn async for one in pdm.allocations(tenant="acme")]
        assert [one.action async for one in pdm.events(held.fqdn)][:3] == ["reserved", "renewed", "committed"]
        released = await pdm.release(held.fqdn, token)
        assert released is not None
        declared = await pdm.declare(f"{name()}.{service.pool}", "me", addresses=[ADDRESS])
        assert declared.load_balancer_ip == ADDRESS
        assert (await pdm.find(declared.fqdn, owner="me")).fqdn == declared.fqdn
        await pdm.withdraw(declared.fqdn, "me")
        assert {pool.pool_domain for pool in await pdm.pools()} == {service.pool}
        assert await pdm.nameservers()
        assert "www" in (await pdm.reserved()).reserved
        assert len(await pdm.registrars()) == 5
        claim = await pdm.reserve_domain(f"{name()}.zz")
        assert claim.challenge is not None


async def test_errors_are_the_services(service: Service) -> None:
    """What the service tells is raised as its own error, with what comes with it."""
    async with client(service.port) as pdm:
        with pytest.raises(errors.ReservedName) as refused:
            await pdm.reserve(service.pool, "www")
        assert "reserved" in refused.value.detail
        held = await pdm.reserve(service.pool, name())
        with pytest.raises(errors.Conflict):
            await pdm.reserve(service.pool, held.subdomain or "")
        with pytest.raises(errors.TokenMismatch):
            await pdm.commit(held.fqdn, "x", [ADDRESS])
        with pytest.raises(errors.NotFound):
            await pdm.find(f"{name()}.{service.pool}")
        with pytest.raises(errors.UnsupportedRegistrar) as unknown:
            await pdm.validate("nobody", "x.zz", "t")
        assert "dynadot" in unknown.value.supported


async def test_lost_replies(service: Service, network: Network) -> None:
    """A reply that is lost costs a second try and nothing else, for every verb that is safe to repeat."""
    async with client(network.port) as pdm:
        network.losing = 2
        held = await pdm.reserve(service.pool, name())
        network.losing = 2
        active = await pdm.commit(held.fqdn, held.reservation_token or "", [ADDRESS])
        assert active.state == "active"
        network.losing = 1
        await pdm.release(held.fqdn, held.reservation_token)
        short = await pdm.reserve(service.pool, name())
        network.losing = 1
        # The reservation was given back by the try whose reply was lost.
        assert await pdm.release(short.fqdn, short.reservation_token) is None
        network.losing = 1
        declared = await pdm.declare(f"{name()}.{service.pool}", "me")
        assert declared.state == "reserved"
    actions = [one["action"] for one in service.client.get(f"/v1/allocations/{held.fqdn}/events").json()["events"]]
    assert actions.count("reserved") == actions.count("committed") == 1


async def test_what_is_not_safe_is_sent_once(service: Service, network: Network) -> None:
    """A release without the token, and what goes to a registrar, are never repeated."""
    held = service.reserve(name()).json()
    async with client(network.port) as pdm:
        for call in (
            lambda: pdm.release(held["fqdn"]),
            lambda: pdm.validate("dynadot", "x.zz", "t"),
            lambda: pdm.roll_back("x.zz", "t", "dynadot", "t"),
            lambda: pdm.commit("x.zz", "t", [ADDRESS], registrar="dynadot", registrar_token="t"),
        ):
            network.losing, before = 1, network.carried
            with pytest.raises(Unreachable):
                await call()
            assert network.carried == before + 1
            network.losing = 0


async def test_gives_up(service: Service, powerdns: PowerDNS) -> None:
    """A service that stays away is told as such, soon if so wanted; an answer of something else likewise."""
    async with client(9, 0.5) as pdm:
        with pytest.raises(Unreachable):
            await pdm.pools()
    async with Client(powerdns.api_url, retry_seconds=0.1) as pdm:
        with pytest.raises(Unreachable):
            await pdm.pools()
    assert service.client.get("/readyz").status_code == 200
