"""What answers where PowerDNS should: something else, or PowerDNS over a way that loses changes."""

import functools
import threading
from collections.abc import Awaitable, Callable, Iterator

import httpx
import pytest

from pdm_service.dev.servers import PowerDNS
from pdm_service.model.records import RRset
from pdm_service.powerdns import PowerDns, Unavailable
from tests.eventually import eventually
from tests.holding import HoldingProxy
from tests.service import Service, at_once, name

HTML = b"<html><body>Welcome to nginx</body></html>"


def answer(status: str, body: bytes, kind: str = "text/html") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


STRANGE = {
    "HTML": (answer("200 OK", HTML), "not PowerDNS's API"),
    "another JSON": (answer("200 OK", b'{"status": "ok"}', "application/json"), "not PowerDNS's API"),
    "a list": (answer("200 OK", b"[]", "application/json"), "not PowerDNS's API"),
    "nothing": (answer("200 OK", b""), "not PowerDNS's API"),
    "no such page": (answer("404 Not Found", HTML), "not PowerDNS's API"),
    "a gateway's error": (answer("502 Bad Gateway", HTML), "not PowerDNS's API"),
    "a wrong key": (
        answer("401 Unauthorized", b'{"error": "Unauthorized"}', "application/json"),
        "refuses the API key",
    ),
}


@pytest.fixture
def proxy(powerdns: PowerDNS) -> Iterator[HoldingProxy]:
    made = HoldingProxy(powerdns)
    yield made
    made.stop()


def readiness(service: Service) -> dict[str, str]:
    reply = service.client.get("/readyz")
    assert reply.status_code == 200  # what callers ask for is stored
    return reply.json()


@pytest.mark.parametrize(("strange", "words"), STRANGE.values(), ids=STRANGE.keys())
async def test_what_it_says_is_not_believed(
    powerdns: PowerDNS, proxy: HoldingProxy, strange: bytes, words: str
) -> None:
    """It tells of no zone, not that there is none either; and of a change it is not known whether it was made."""
    proxy.answer = strange
    client = PowerDns(proxy.api_url, powerdns.api_key, "localhost", 4, lambda *_: None)
    records = (RRset(name="x.test.", type="A", ttl=60, contents=("192.0.2.1",)),)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "read": lambda: client.zone("x.test."),
        "delete": lambda: client.delete_zone("x.test."),
        "create": lambda: client.create_zone("x.test.", {}, records),
        "change": lambda: client.patch("x.test.", records),
        "list": lambda: anext(client.zones()),
        "alive": client.alive,
    }
    if strange.endswith(b"[]"):
        del calls["list"]  # no zones may be true
    for what, call in calls.items():
        with pytest.raises(Unavailable) as caught:
            await call()
        assert words in str(caught.value) or what == "list", what
        assert caught.value.unclear == (what in {"delete", "create", "change"} and "key" not in words), what
    await client.close()


@pytest.mark.parametrize(("strange", "words"), STRANGE.values(), ids=STRANGE.keys())
def test_what_is_not_powerdns(
    new_service: Callable[..., Service], proxy: HoldingProxy, strange: bytes, words: str
) -> None:
    """It is an outage with words: for operators, and for the caller of every name that it holds up."""
    service = new_service(PDM_PDNS_BASE_URL=proxy.api_url, PDM_RECONCILE_INTERVAL="1s").start()
    eventually(service.pools_ready)
    kept = name()
    service.publish(kept)
    proxy.answer = strange
    labels = [name() for _ in range(5)]
    tokens = [service.reserve(label).json()["reservationToken"] for label in labels]
    calls = [
        *(functools.partial(service.commit, label, token) for label, token in zip(labels, tokens, strict=True)),
        functools.partial(service.release, kept),
    ]
    assert [reply.status_code for reply in at_once(len(calls), lambda number: calls[number]())] == [202] * len(calls)
    eventually(lambda: readiness(service)["powerdns"] == "unreachable", 20)
    assert words in readiness(service)["problem"]
    for label in (*labels, kept):
        eventually(lambda label=label: words in service.get(label).json()["dns"].get("lastError", ""), 20, label)
    assert service.get(kept).json()["state"] == "releasing", "what says that there is no zone is not PowerDNS"
    proxy.answer = None
    for label in labels:
        found = service.published(label, 20)
        assert "lastError" not in found["dns"]
    service.gone(kept, 40)
    assert readiness(service)["powerdns"] == "ok"
    assert "problem" not in readiness(service)
    assert not [line for line in service.lines() if "exception" in line]


def test_an_idle_service_tells_of_it_too(new_service: Callable[..., Service], proxy: HoldingProxy) -> None:
    """Nothing is waiting, and still the key that is refused is told."""
    service = new_service(PDM_PDNS_BASE_URL=proxy.api_url, PDM_RECONCILE_INTERVAL="1s").start()
    eventually(service.pools_ready)
    proxy.answer = STRANGE["a wrong key"][0]
    eventually(lambda: readiness(service)["powerdns"] == "unreachable", 20)
    proxy.answer = None
    eventually(lambda: readiness(service)["powerdns"] == "ok", 20)


def test_a_replica_whose_changes_get_nowhere(new_service: Callable[..., Service], proxy: HoldingProxy) -> None:
    """It yields: what callers want is published by the other replica, and it says so of itself."""
    pace = {"PDM_RECONCILE_INTERVAL": "1s", "PDM_LEASE": "30s"}
    failing = new_service(PDM_PDNS_BASE_URL=proxy.api_url, **pace).start()
    eventually(failing.pools_ready)
    other = new_service(**pace).start()
    proxy.hold(lambda method, _, size: method in {"PATCH", "POST"} and size > 0)
    labels = [name() for _ in range(12)]
    tokens = [failing.reserve(label).json()["reservationToken"] for label in labels]
    committing = threading.Thread(
        target=lambda: at_once(12, lambda number: failing.commit(labels[number], tokens[number])), daemon=True
    )
    committing.start()
    for label in labels:
        other.published(label, 20)
    eventually(lambda: readiness(failing)["powerdns"] == "failing", 20)
    assert "does not answer" in readiness(failing)["problem"]
    metrics = eventually(lambda: one if "pdm_powerdns_failing 1.0" in (one := metrics_of(failing)) else None, 20)
    assert "pdm_powerdns_up 1.0" in metrics
    assert readiness(other)["powerdns"] == "ok"
    proxy.pass_on()
    eventually(lambda: readiness(failing)["powerdns"] == "ok", 60)
    committing.join()


def metrics_of(service: Service) -> str:
    return httpx.get(f"{service.url}/metrics", trust_env=False).text
