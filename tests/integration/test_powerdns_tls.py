"""PowerDNS behind TLS: nothing is sent to a server that cannot prove itself, and what is wrong is told in words."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pdm_service import tls
from pdm_service.dev.servers import PowerDNS
from pdm_service.powerdns import PowerDns, Untrusted
from tests.certificates import EXPIRED, Authority
from tests.patience import patient
from tests.service import PDM, Service, name
from tests.tls_front import TlsFront


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def front(powerdns: PowerDNS, authority: Authority) -> Iterator[TlsFront]:
    made = TlsFront(powerdns.api_port, authority.pair("127.0.0.1", "localhost"))
    yield made
    made.stop()


def url(front: TlsFront) -> str:
    return f"https://127.0.0.1:{front.port}"


def test_ca_is_put_right(
    new_service: Callable[..., Service], front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    """With the wrong CA nothing is sent, and log and readiness say why; with the right one the service goes on by itself."""
    ca = tmp_path / "ca.crt"
    shutil.copy(Authority(tmp_path / "other").file, ca)
    service = new_service(PDM_PDNS_BASE_URL=url(front), PDM_PDNS_CA_FILE=str(ca)).start()
    label = name()
    assert service.commit(label, service.reserve(label).json()["reservationToken"]).status_code == 202
    untrusted = "its certificate is not accepted: unable to get local issuer certificate"
    assert untrusted in service.get(label).json()["dns"]["lastError"]
    told = service.client.get("/readyz")
    assert (told.status_code, told.json()["powerdns"]) == (200, "unreachable")
    assert untrusted in told.json()["problem"]
    told_in_log = {one["message"] for one in service.lines() if untrusted in one.get("error", "")}
    assert told_in_log & {"publishing", "PowerDNS is not reached"}
    assert not front.heard
    shutil.copy(authority.file, ca)
    service.published(label)
    assert service.client.get("/readyz").json() == {"ready": True, "database": "ok", "powerdns": "ok"}
    assert front.heard


FAULTS = {
    "expired": "its certificate is not accepted: certificate has expired",
    "name": "its certificate is not accepted: IP address mismatch, certificate is not valid for '127.0.0.1'",
    "issuer": "its certificate is not accepted: unable to get local issuer certificate",
    "no TLS": "TLS fails: wrong version number",
}


def faulty(fault: str, front: TlsFront, powerdns: PowerDNS, authority: Authority, tmp_path: Path) -> str:
    """Have the front show what is wrong; return where to ask."""
    if fault == "no TLS":
        return powerdns.api_url.replace("http:", "https:")
    front.pair = {
        "expired": lambda: authority.pair("127.0.0.1", valid=EXPIRED),
        "name": lambda: authority.pair("elsewhere.test"),
        "issuer": lambda: Authority(tmp_path / "other").pair("127.0.0.1"),
    }[fault]()
    return url(front)


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_wrong(
    front: TlsFront, powerdns: PowerDNS, authority: Authority, tmp_path: Path, fault: str
) -> None:
    """Each fault of a certificate has its words, and no request is sent."""
    where = faulty(fault, front, powerdns, authority, tmp_path)
    context = tls.trusting(authority.file)
    client = PowerDns(where, powerdns.api_key, "localhost", 1, lambda *_: None, lambda: context)
    with pytest.raises(Untrusted) as told:
        await client.version()
    await client.close()
    assert str(told.value) == f"PowerDNS cannot be asked (server): {FAULTS[fault]}"
    assert not front.heard


async def test_nothing_is_wrong(front: TlsFront, powerdns: PowerDNS, authority: Authority) -> None:
    """A server that proves itself is asked; without a CA of ours it would have to be one that everybody trusts."""
    context = tls.trusting(authority.file)
    client = PowerDns(url(front), powerdns.api_key, "localhost", 1, lambda *_: None, lambda: context)
    assert (await client.version())[0].isdigit()
    await client.close()
    client = PowerDns(url(front), powerdns.api_key, "localhost", 1, lambda *_: None)
    with pytest.raises(Untrusted, match="unable to get local issuer certificate"):
        await client.version()
    await client.close()


@pytest.mark.parametrize("fault", ["none", *FAULTS])
def test_doctor(
    new_service: Callable[..., Service], front: TlsFront, powerdns: PowerDNS, authority: Authority, tmp_path: Path,
    fault: str,
) -> None:  # fmt: skip
    """`pdm doctor` says what is wrong with the certificate, and which settings to look at."""
    where = url(front) if fault == "none" else faulty(fault, front, powerdns, authority, tmp_path)
    service = new_service(PDM_PDNS_BASE_URL=where, PDM_PDNS_CA_FILE=str(authority.file))
    found = subprocess.run(
        [PDM, "doctor", "--json"], env=service.environment, capture_output=True, text=True, timeout=patient(60)
    )
    (told,) = [one for one in json.loads(found.stdout) if one["what"] == "PowerDNS"]
    if fault == "none":
        assert told["verdict"] == "ok"
    else:
        assert (told["verdict"], told["found"].partition(": ")[2]) == ("fail", FAULTS[fault])
        assert "PDM_PDNS_CA_FILE" in told["remedy"]
