"""Calls of PowerDNS that are carried out long after they were given up: what DNS has is right again soon."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from pdm_service.dev.servers import PowerDNS
from pdm_service.model.records import RRset
from pdm_service.powerdns import PowerDns, Unavailable
from tests.dns_view import Api, records
from tests.eventually import eventually
from tests.holding import HoldingProxy
from tests.service import Service, name

RIGHT_SECONDS = 15


@pytest.fixture
def proxy(powerdns: PowerDNS) -> Iterator[HoldingProxy]:
    made = HoldingProxy(powerdns)
    yield made
    made.stop()


class Two:
    """A replica whose calls may be held, and one with a way of its own."""

    def __init__(self, new_service: Callable[..., Service], proxy: HoldingProxy, api: Api) -> None:
        self.slow = new_service(PDM_PDNS_BASE_URL=proxy.api_url).start()
        self.other = new_service()
        self.api, self.proxy = api, proxy
        eventually(self.slow.pools_ready)
        self.label = name()
        self.fqdn = f"{self.label}.{self.slow.pool}"

    def held(self, method: str, killed: bool, act: Callable[[], object]) -> None:
        """Have the slow replica's call about the name held: until it is given up, or the replica dies."""
        where = {"POST": "/zones?rrsets=false", "PATCH": f"/zones/{self.slow.pool}.", "DELETE": f"/zones/{self.fqdn}."}
        self.proxy.hold(lambda found, path, _: found == method and path.endswith(where[method]))
        threading.Thread(target=lambda: _ignored(act), daemon=True).start()
        eventually(lambda: self.proxy.held, 10)
        if not killed:
            eventually(lambda: self.slow.get(self.label).json()["dns"].get("lastError"), 20)
        self.slow.kill()
        self.proxy.pass_on()
        self.other.start()

    def gone_for_good(self) -> None:
        eventually(lambda: self.other.get(self.label).status_code == 404, 45)

    def published_anew(self) -> None:
        token = eventually(lambda: self.other.reserve(self.label).json().get("reservationToken"), 45)
        assert self.other.commit(self.label, token, "192.0.2.99").status_code in {200, 202}
        self.other.published(self.label, 30)

    def overtaken(self, method: str, killed: bool) -> None:
        """Have a call of a release carried out when the name is the next holder's already."""
        self.slow.publish(self.label)
        self.held(method, killed, lambda: self.slow.release(self.label))
        self.published_anew()
        assert self.right()
        self.proxy.deliver()

    def right(self) -> bool:
        """Whether zone, keys and delegation are those of the holder."""
        ds = self.other.get(self.label).json().get("dnssec", {}).get("ds")
        port = int(self.other.environment["PDM_NAMESERVER_ADDRESSES"].rpartition(":")[2])
        child = self.api.zone(self.fqdn)
        return (
            child is not None
            and self.api.delegations(self.other.pool).get(self.fqdn) == {"NS", "DS"}
            and records(port, self.fqdn, "DS") == ds
            and records(port, self.fqdn, "A") == ["192.0.2.99"]
            and [one for key in self.api.keys(self.fqdn) for one in key["ds"] if one.split()[2] == "2"] == ds
        )


def _ignored(act: Callable[[], object]) -> None:
    with contextlib.suppress(httpx.HTTPError):  # the replica dies meanwhile
        act()


@pytest.fixture
def two(new_service: Callable[..., Service], proxy: HoldingProxy, api: Api) -> Two:
    return Two(new_service, proxy, api)


ends = pytest.mark.parametrize("killed", [False, True], ids=["given up", "killed"])


@ends
def test_late_creation(two: Two, killed: bool) -> None:
    """The zone of a former holder, which appears after the release, goes again."""
    token = two.slow.reserve(two.label).json()["reservationToken"]
    two.held("POST", killed, lambda: two.slow.commit(two.label, token))
    two.other.published(two.label, 30)
    assert two.other.release(two.label).status_code in {200, 202}
    two.gone_for_good()
    assert two.api.zone(two.fqdn) is None
    two.proxy.deliver()
    assert two.api.zone(two.fqdn) is not None
    eventually(lambda: two.api.zone(two.fqdn) is None, RIGHT_SECONDS)
    two.gone_for_good()


@ends
def test_late_creation_below_a_reservation(two: Two, killed: bool) -> None:
    """It goes as well where somebody has reserved the name meanwhile, who gets it none the less."""
    token = two.slow.reserve(two.label).json()["reservationToken"]
    two.held("POST", killed, lambda: two.slow.commit(two.label, token))
    two.other.published(two.label, 30)
    two.other.release(two.label)
    token = eventually(lambda: two.other.reserve(two.label).json().get("reservationToken"), 45)
    two.proxy.deliver()
    assert two.api.zone(two.fqdn) is not None
    eventually(lambda: two.api.zone(two.fqdn) is None, RIGHT_SECONDS)
    assert two.other.get(two.label).json()["state"] == "reserved"
    assert two.other.commit(two.label, token, "192.0.2.99").status_code in {200, 202}
    eventually(two.right, 20)


@ends
def test_late_end_of_a_delegation(two: Two, killed: bool) -> None:
    """The delegation of the next holder, which the former one's release takes away, comes back."""
    two.overtaken("PATCH", killed)
    assert two.fqdn not in two.api.delegations(two.other.pool)
    eventually(two.right, RIGHT_SECONDS)


@ends
def test_late_deletion(two: Two, killed: bool) -> None:
    """The zone of the next holder, which the former one's release takes away, comes back, and its DS is that of its keys."""
    two.overtaken("DELETE", killed)
    assert two.api.zone(two.fqdn) is None
    eventually(two.right, RIGHT_SECONDS)


def test_a_name_is_nobodys_while_a_call_may_come(two: Two) -> None:
    """After a call was given up the name is not given to anybody for a while, and its holder is told why."""
    two.slow.publish(two.label)
    two.held("DELETE", False, lambda: two.slow.release(two.label))

    def waits() -> bool:
        found = two.other.get(two.label).json()
        return found.get("state") == "releasing" and "may still be carried out" in found["dns"].get("lastError", "")

    eventually(waits, 20)
    assert two.api.zone(two.fqdn) is None
    assert two.other.reserve(two.label).status_code == 409
    two.gone_for_good()


async def test_what_is_given_up_is_not_carried_out(own_powerdns: PowerDNS) -> None:
    """A server that has not read a request when it is given up never will: the connection is reset."""
    client = PowerDns(own_powerdns.api_url, own_powerdns.api_key, "localhost", 4, lambda *_: None)
    zone = f"{name()}.test."
    soa = RRset(name=zone, type="SOA", ttl=60, contents=("a.test. b.test. 0 1 1 1 1",))
    assert own_powerdns.pid is not None
    os.kill(own_powerdns.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable) as caught:
            await client.create_zone(zone, {}, (soa,))
    finally:
        os.kill(own_powerdns.pid, signal.SIGCONT)
    assert caught.value.unclear
    # What stands in its queue of connections it takes before this one.
    for _ in range(20):
        assert await client.zone(zone) is None
    await client.close()
