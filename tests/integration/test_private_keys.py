"""The private keys of zones stay with PowerDNS: the service neither asks for one, nor is given one, nor keeps one."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pdm_service.dev.servers import PowerDNS
from tests.api.test_secrets import dump, spellings
from tests.certificates import Authority
from tests.dns_view import Api
from tests.eventually import eventually
from tests.service import ADDRESS, Service, name
from tests.tls_front import TlsFront


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def front(powerdns: PowerDNS, authority: Authority) -> Iterator[TlsFront]:
    """What hears all that is said to PowerDNS, and all that it answers."""
    made = TlsFront(powerdns.api_port, authority.pair("127.0.0.1"))
    yield made
    made.stop()


def private_keys(api: Api, zone: str) -> set[str]:
    """The private parts of a zone's keys, as PowerDNS gives them to who asks for one."""
    told = [api._call("GET", f"/zones/{zone}./cryptokeys/{key['id']}").json()["privatekey"] for key in api.keys(zone)]
    return {match[1] for text in told for match in re.finditer(r"PrivateKey: (\S+)", text)}


def test_private_keys(new_service: Callable[..., Service], front: TlsFront, authority: Authority, api: Api) -> None:
    """Through publication, audit, repair and release of a name: keys are listed, never read."""
    service = new_service(
        PDM_PDNS_BASE_URL=f"https://127.0.0.1:{front.port}",
        PDM_PDNS_CA_FILE=str(authority.file),
        PDM_AUDIT_INTERVAL="1s",
    ).start()
    label = name()
    zone = f"{label}.{service.pool}"
    service.publish(label)
    secret = private_keys(api, zone) | private_keys(api, service.pool)
    assert len(secret) == 2
    api.patch(zone, {"name": f"{zone}.", "type": "A", "changetype": "DELETE"})
    eventually(lambda: ADDRESS in str(api.zone(zone)), 20, "the repair")
    token = service.publish(name())["reservationToken"]
    assert token
    service.release(label)
    service.gone(label)
    heard, told = front.heard.decode(errors="replace"), front.told.decode(errors="replace")
    # A request may follow a body that ends without a line end.
    asked = set(re.findall(r"([A-Z]+) /api/v1/servers/localhost/zones/[^/\s]+/cryptokeys(\S*)", heard))
    assert asked == {("GET", "")}
    assert '"dnskey"' in told
    assert "privatekey" not in told.lower()
    places = {"what PowerDNS told": told, "the log": service.log.read_text()}
    places |= dump(service.environment["PDM_DATABASE_URL"])
    for one in secret:
        for spelled in spellings(one):
            assert [place for place, text in places.items() if spelled in text] == []
