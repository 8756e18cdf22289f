"""The wire contract, route by route: status codes, exact fields, error codes."""

from typing import Any

import httpx
import pytest

from pdm_service.dev.servers import PowerDNS
from tests.dns_view import records
from tests.eventually import eventually
from tests.service import ADDRESS, NAMESERVERS, Service, at_once, name

ALWAYS = {"fqdn", "mode", "poolDomain", "subdomain", "state", "reservedAt", "nameservers", "dns"}
COMMITTED = ALWAYS | {"createdBy", "committedAt", "sovereignFQDN", "loadBalancerIPs", "loadBalancerIP"}
BAD_ADDRESSES = [
    "0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "ff02::1", "169.254.1.1", "fe80::1", "fe80::1%eth0",
    "::ffff:192.0.2.1", "255.255.255.255", "lb.example.org", "192.0.2.1:443", "192.0.2.1/32", "300.1.1.1", "x" * 300,
]  # fmt: skip
BAD_LABELS = ["", " ", "1a", "-a", "a-", "a_b", "a.b", "a" * 64, "ä", "*", "a b", "a\x00b"]
BAD_TEXTS = ["x" * 201, "{name}", "a}b", "a\nb", "\x00", "\u202e"]


def refused(reply: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return reply.status_code, reply.json().get("error", reply.text)


def check(service: Service, label: str, pool: str | None = None) -> dict[str, Any]:
    reply = service.client.get("/v1/check", params={"poolDomain": pool or service.pool, "subdomain": label})
    assert reply.status_code == 200
    return reply.json()


def compat(service: Service, method: str, verb: str, body: object = None, **query: str) -> httpx.Response:
    path = f"/api/v1/pool/{service.pool}/{verb}"
    return (
        service.client.request(method, path, json=body, params=query)
        if body
        else service.client.request(method, path, params=query)
    )


def token_of(service: Service, label: str, **more: object) -> str:
    reply = service.reserve(label, **more)
    assert reply.status_code == 201, reply.text
    return reply.json()["reservationToken"]


def commit(service: Service, label: str, token: str, **values: object) -> httpx.Response:
    body = {"fqdn": f"{label}.{service.pool}", "reservationToken": token, **values}
    return service.client.post("/v1/commit", json=body)


def expired(service: Service) -> tuple[str, str]:
    """The label and token of a reservation whose time is over."""
    label = name()
    token = token_of(service, label, ttlSeconds=1)
    eventually(lambda: check(service, label)["available"], 5, "the reservation to expire")
    return label, token


# --- names and ids ------------------------------------------------------------------------------------


def test_name_of_any_spelling(service: Service) -> None:
    """Names are taken in any case, with a trailing dot and with blanks around them, and told in one form."""
    label = name()
    fqdn = f"{label}.{service.pool}"
    body = {"poolDomain": f" {service.pool.upper()}. ", "subdomain": f" {label.upper()} "}
    reply = service.client.post("/v1/reserve", json=body)
    assert reply.status_code == 201
    assert (reply.json()["fqdn"], reply.json()["subdomain"]) == (fqdn, label)
    assert check(service, f" {label.upper()}", f"{service.pool.upper()}.")["reason"] == "reserved-state"
    for spelled in (fqdn.upper(), f"{fqdn}.", f" {fqdn} "):
        assert service.client.get(f"/v1/allocations/{spelled}").json()["fqdn"] == fqdn
        assert service.client.get(f"/v1/allocations/{spelled}/events").json()["fqdn"] == fqdn
    listed = service.client.get("/v1/allocations", params={"poolDomain": f"{service.pool.upper()}."}).json()
    assert fqdn in {one["fqdn"] for one in listed["allocations"]}
    path = f"/api/v1/pool/{service.pool.upper()}.%20/check"
    assert service.client.get(path, params={"sub": f"{label.upper()}."}).json()["reason"] == "reserved-state"
    assert service.client.post("/v1/release", json={"fqdn": f" {fqdn.upper()}. "}).status_code == 200


@pytest.mark.parametrize("identity", ["a", "0af7651916cd43dd8448eb211c80319c", "req_1.2:3-4", "x" * 128])
def test_request_id_that_is_usable(service: Service, identity: str) -> None:
    """A caller's X-Request-Id is echoed once, on good and on bad replies."""
    for path in ("/v1/check", "/v1/allocations/nobody.has.it", "/nowhere", "/healthz"):
        reply = service.client.get(path, headers={"X-Request-Id": identity})
        assert reply.headers.get_list("x-request-id") == [identity]


@pytest.mark.parametrize("identity", [None, "", "a b", "x" * 129, "{x}", 'a"', "ü", "a,b"])
def test_request_id_that_is_not_usable(service: Service, identity: str | None) -> None:
    """A request without a usable X-Request-Id gets a fresh one."""
    headers = {} if identity is None else {"X-Request-Id": identity.encode()}
    made = [service.client.get("/v1/nameservers", headers=headers).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(len(one) >= 16 and one.isalnum() for one in made)


def test_request_id_in_log_and_trail(service: Service) -> None:
    """The X-Request-Id of a change stands in the log and in the audit trail."""
    label, identity = name(), f"trail-{name()}"
    body = {"poolDomain": service.pool, "subdomain": label}
    service.client.post("/v1/reserve", json=body, headers={"X-Request-Id": identity})
    (event,) = service.client.get(f"/v1/allocations/{label}.{service.pool}/events").json()["events"]
    assert event["requestId"] == identity
    eventually(lambda: any(line.get("requestId") == identity for line in service.lines()), 5)


# --- check --------------------------------------------------------------------------------------------


def test_check_of_each_answer(service: Service) -> None:
    """Check always answers 200, with the name if it is free, and with a word and a sentence if it is not."""
    label = name()
    fqdn = f"{label}.{service.pool}"
    assert check(service, label) == {"available": True, "fqdn": fqdn}
    assert check(service, "a_b")["reason"] == "invalid-format"
    assert check(service, label, "elsewhere.test")["reason"] == "unsupported-pool"
    assert check(service, "www")["reason"] == "reserved"
    token = token_of(service, label)
    held = check(service, label)
    assert held.pop("detail")
    assert held == {"available": False, "reason": "reserved-state", "fqdn": fqdn}
    assert service.commit(label, token).status_code in {200, 202}
    assert check(service, label)["reason"] == "active-state"
    assert service.client.get("/v1/check").json()["available"] is False


@pytest.mark.parametrize("label", BAD_LABELS)
def test_check_of_what_is_no_label(service: Service, label: str) -> None:
    """A label that cannot be is told as such, not as an error."""
    assert check(service, label)["reason"] == "invalid-format"


# --- reserve ------------------------------------------------------------------------------------------


def test_reserve_of_a_free_name(service: Service) -> None:
    """A reservation has exactly the contract's fields, its token among them, and no DNS."""
    label = name()
    reply = service.reserve(label, createdBy="wizard", ttlSeconds=60)
    assert reply.status_code == 201
    body = reply.json()
    assert set(body) == ALWAYS | {"createdBy", "expiresAt", "reservationToken"}
    assert body["fqdn"] == f"{label}.{service.pool}"
    assert (body["mode"], body["state"], body["createdBy"]) == ("pool", "reserved", "wizard")
    assert (body["poolDomain"], body["subdomain"]) == (service.pool, label)
    assert body["dns"] == {"state": "none"}
    assert body["nameservers"] == list(NAMESERVERS)
    assert len(body["reservationToken"]) == 36
    assert set(service.reserve(name()).json()) == ALWAYS | {"expiresAt", "reservationToken"}


def test_reserve_of_a_held_name(service: Service) -> None:
    """A name that is held or active is a conflict, on both kinds of routes."""
    label = name()
    token = token_of(service, label)
    assert refused(service.reserve(label)) == (409, "conflict")
    assert refused(compat(service, "POST", "reserve", {"subdomain": label})) == (409, "conflict")
    service.commit(label, token)
    assert refused(service.reserve(label)) == (409, "conflict")


@pytest.mark.parametrize("label", BAD_LABELS)
def test_reserve_of_what_is_no_label(service: Service, label: str) -> None:
    """A label that cannot be is refused on both kinds of routes."""
    assert refused(service.reserve(label)) == (422, "invalid-format")
    assert refused(compat(service, "POST", "reserve", {"subdomain": label})) == (422, "invalid-format")


def test_reserve_of_a_reserved_label(service: Service) -> None:
    """Reserved labels are refused in any spelling."""
    for label in ("www", " CONSOLE", "ns1", "mailhost"):
        assert refused(service.reserve(label)) == (422, "reserved-name")
        assert refused(compat(service, "POST", "reserve", {"subdomain": label})) == (422, "reserved-name")


@pytest.mark.parametrize("pool", ["elsewhere.test", "test", "", "a_b", "x." * 200])
def test_reserve_in_an_unknown_pool(service: Service, pool: str) -> None:
    """A domain that is no pool domain is refused."""
    body = {"poolDomain": pool, "subdomain": name()}
    assert refused(service.client.post("/v1/reserve", json=body)) == (422, "unsupported-pool")
    if pool:
        reply = service.client.post(f"/api/v1/pool/{pool}/reserve", json={"subdomain": name()})
        assert refused(reply) == (422, "unsupported-pool")


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_created_by_that_is_refused(service: Service, text: str) -> None:
    """createdBy takes 200 printable characters without braces; else nothing is held."""
    label = name()
    assert service.reserve(label, createdBy=text).status_code == 422
    assert compat(service, "POST", "reserve", {"subdomain": label, "createdBy": text}).status_code == 422
    assert check(service, label)["available"]


def test_created_by_at_its_longest(service: Service) -> None:
    """200 characters are taken, of whatever script."""
    assert service.reserve(name(), createdBy="é" * 200).json()["createdBy"] == "é" * 200


@pytest.mark.parametrize("seconds", [0, -1, 10**9, 2**63 - 1])
def test_ttl_out_of_bounds(service: Service, seconds: int) -> None:
    """A hold time that nobody can mean is refused."""
    assert service.reserve(name(), ttlSeconds=seconds).status_code == 422


def test_reserve_again_after_expiry(service: Service) -> None:
    """An expired reservation is as if it were not there."""
    label, token = expired(service)
    assert service.get(label).status_code == 404
    again = service.reserve(label)
    assert again.status_code == 201
    assert refused(service.commit(label, token)) == (403, "token-mismatch")


def test_unknown_field_on_v1(service: Service) -> None:
    """An unknown field is refused by name on /v1, and nothing is held."""
    label = name()
    reply = service.reserve(label, colour="blue")
    assert refused(reply) == (400, "invalid-body")
    assert "colour" in reply.json()["detail"]
    assert check(service, label)["available"]
    fqdn = f"{label}.{service.pool}"
    for path, body in (
        ("/v1/commit", {"fqdn": fqdn, "reservationToken": "x", "loadBalancerIP": ADDRESS}),
        ("/v1/renew", {"fqdn": fqdn, "reservationToken": "x"}),
        ("/v1/release", {"fqdn": fqdn}),
    ):
        reply = service.client.post(path, json={**body, "colour": 1})
        assert refused(reply) == (400, "invalid-body")
        assert "colour" in reply.json()["detail"]


# --- Idempotency-Key ------------------------------------------------------------------------------------


def test_reserve_again_with_the_same_key(service: Service) -> None:
    """The same key and body get the same reservation again, and every token so given works."""
    label, key = name(), name("key-")
    replies = [service.reserve(label, key=key, createdBy="wizard") for _ in range(3)]
    assert [reply.status_code for reply in replies] == [201] * 3
    bodies = [reply.json() for reply in replies]
    tokens = [body.pop("reservationToken") for body in bodies]
    assert bodies[0] == bodies[1] == bodies[2]
    for token in tokens:
        assert commit(service, label, token, loadBalancerIP=ADDRESS).status_code in {200, 202}


def test_reserve_with_a_key_on_the_compatibility_route(service: Service) -> None:
    """The key works on the existing provisioner's route as well."""
    label, path = name(), f"/api/v1/pool/{service.pool}/reserve"
    headers = {"Idempotency-Key": name("key-")}
    one, two = (service.client.post(path, json={"subdomain": label}, headers=headers) for _ in range(2))
    assert (one.status_code, two.status_code) == (201, 201)
    for reply in (one, two):
        assert commit(service, label, reply.json()["reservationToken"], loadBalancerIP=ADDRESS).status_code in {
            200,
            202,
        }


def test_key_of_another_request(service: Service) -> None:
    """A key stands for one request: with another body it is refused, and nothing is held."""
    label, other, key = name(), name(), name("key-")
    token_of(service, label, key=key)
    for reply in (
        service.reserve(label, key=key, createdBy="another"),
        service.reserve(label, key=key, ttlSeconds=77),
        service.reserve(other, key=key),
    ):
        assert refused(reply) == (422, "idempotency-key-reused")
    assert check(service, other)["available"]


def test_another_key_for_a_held_name(service: Service) -> None:
    """A key of one's own opens nobody else's reservation."""
    label = name()
    token_of(service, label, key=name("key-"))
    assert refused(service.reserve(label, key=name("key-"))) == (409, "conflict")
    assert refused(service.reserve(label)) == (409, "conflict")


@pytest.mark.parametrize("key", ["", "x" * 256, "ü"])
def test_key_that_is_not_usable(service: Service, key: str) -> None:
    """A key that is empty, too long or not ASCII is the caller's error."""
    body = {"poolDomain": service.pool, "subdomain": name()}
    reply = service.client.post("/v1/reserve", json=body, headers={"Idempotency-Key": key.encode()})
    assert 400 <= reply.status_code < 500


def test_many_retries_at_once_with_one_key(service: Service) -> None:
    """Retries that overtake each other all get the one reservation."""
    label, key = name(), name("key-")
    replies = at_once(8, lambda _: service.reserve(label, key=key))
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.json()["reservationToken"] for reply in replies}) == 1


# --- renew --------------------------------------------------------------------------------------------


def test_renew_of_a_reservation(service: Service) -> None:
    """A renewal moves expiresAt out, and tells no token."""
    label = name()
    before = service.reserve(label, ttlSeconds=60).json()
    body = {"fqdn": before["fqdn"], "reservationToken": before["reservationToken"], "ttlSeconds": 600}
    reply = service.client.post("/v1/renew", json=body)
    assert reply.status_code == 200
    assert set(reply.json()) == ALWAYS | {"expiresAt"}
    assert reply.json()["expiresAt"] > before["expiresAt"]
    shorter = service.client.post("/v1/renew", json={**body, "ttlSeconds": 1}).json()
    assert shorter["expiresAt"] >= reply.json()["expiresAt"]


def test_renew_that_is_refused(service: Service) -> None:
    """Only the holder of a live reservation renews it."""
    label, token = expired(service)

    def renew(label: str, token: str, **more: object) -> tuple[int, str]:
        body = {"poolDomain": service.pool, "subdomain": label, "reservationToken": token, **more}
        return refused(service.client.post("/v1/renew", json=body))

    assert renew(label, token) == (410, "reservation-expired")
    assert renew(name(), token) == (404, "not-found")
    other = name()
    token = token_of(service, other)
    assert renew(other, "00000000-0000-4000-8000-000000000000") == (403, "token-mismatch")
    assert renew(other, token, ttlSeconds=0)[0] == 422
    service.commit(other, token)
    assert renew(other, token) == (409, "already-active")


# --- commit -------------------------------------------------------------------------------------------


def test_commit_of_one_address(service: Service, powerdns: PowerDNS) -> None:
    """A commit answers 200 once DNS has the name, with exactly the contract's fields."""
    label = name()
    token = token_of(service, label, createdBy="wizard")
    reply = commit(service, label, token, loadBalancerIP=ADDRESS, sovereignFQDN=f"{label}.{service.pool}".upper() + ".")
    assert reply.status_code == 200
    body = reply.json()
    assert set(body) == COMMITTED | {"dnssec"}
    assert set(body["dns"]) == {"state", "updatedAt"}
    assert (body["state"], body["dns"]["state"]) == ("active", "published")
    assert (body["loadBalancerIPs"], body["loadBalancerIP"]) == ([ADDRESS], ADDRESS)
    assert body["sovereignFQDN"] == f"{label}.{service.pool}"
    assert all(len(ds.split()) == 4 for ds in body["dnssec"]["ds"])
    assert records(powerdns.dns_port, f"{label}.{service.pool}", "A") == [ADDRESS]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loadBalancerIPs": ["192.0.2.1", "192.0.2.2"]}, ["192.0.2.1", "192.0.2.2"]),
        ({"loadBalancerIP": "2001:DB8:0::1"}, ["2001:db8::1"]),
        ({"loadBalancerIPs": ["2001:DB8:0::1", "192.0.2.1", "2001:db8::1"]}, ["2001:db8::1", "192.0.2.1"]),
        ({"loadBalancerIP": "192.0.2.1", "loadBalancerIPs": ["192.0.2.1"]}, ["192.0.2.1"]),
        ({"loadBalancerIP": "192.0.2.2", "loadBalancerIPs": ["192.0.2.1", "192.0.2.2"]}, ["192.0.2.1", "192.0.2.2"]),
        ({"loadBalancerIP": " 10.0.0.1 "}, ["10.0.0.1"]),
    ],
)
def test_commit_of_addresses(
    service: Service, powerdns: PowerDNS, values: dict[str, object], expected: list[str]
) -> None:
    """Single, list, IPv6 and both become one list in canonical form, in DNS as well."""
    label = name()
    reply = commit(service, label, token_of(service, label), **values)
    assert reply.status_code == 200
    assert (reply.json()["loadBalancerIPs"], reply.json()["loadBalancerIP"]) == (expected, expected[0])
    found = [one for kind in ("AAAA", "A") for one in records(powerdns.dns_port, f"api.{label}.{service.pool}", kind)]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_commit_of_an_address_that_is_refused(service: Service, address: str) -> None:
    """What is no reachable unicast address is refused, and the reservation stays as it was."""
    label = name()
    token = token_of(service, label)
    for values in ({"loadBalancerIP": address}, {"loadBalancerIPs": [ADDRESS, address]}):
        assert refused(commit(service, label, token, **values)) == (422, "invalid-address")
    body = {"subdomain": label, "reservationToken": token, "sovereignFQDN": "a.b", "loadBalancerIP": address}
    assert refused(compat(service, "POST", "commit", body)) == (422, "invalid-address")
    assert service.get(label).json()["state"] == "reserved"


@pytest.mark.parametrize("values", [{}, {"loadBalancerIP": ""}, {"loadBalancerIPs": []}, {"loadBalancerIP": None}])
def test_commit_without_an_address(service: Service, values: dict[str, object]) -> None:
    """A commit needs an address."""
    label = name()
    token = token_of(service, label)
    assert refused(commit(service, label, token, **values)) == (422, "missing-lb-ip")
    if "loadBalancerIPs" not in values:
        body = {"subdomain": label, "reservationToken": token, "sovereignFQDN": "a.b", **values}
        assert refused(compat(service, "POST", "commit", body)) == (422, "missing-lb-ip")


def test_commit_of_both_fields_that_differ(service: Service) -> None:
    """Two fields that say different things are refused rather than one of them ignored."""
    label = name()
    values = {"loadBalancerIP": "192.0.2.1", "loadBalancerIPs": ["192.0.2.2"]}
    assert commit(service, label, token_of(service, label), **values).status_code == 422


def test_commit_again(service: Service) -> None:
    """The same commit again is no error, also with its addresses spelled otherwise; other values are."""
    label = name()
    token = token_of(service, label)
    values: dict[str, object] = {"loadBalancerIPs": ["2001:db8::1", "192.0.2.1"], "sovereignFQDN": "acme.example.org"}
    first = commit(service, label, token, **values)
    assert first.status_code == 200
    for same in (
        values,
        {**values, "loadBalancerIPs": ["192.0.2.1", "2001:DB8:0::1"]},
        {**values, "sovereignFQDN": "ACME.example.org."},
    ):
        again = commit(service, label, token, **same)
        assert again.status_code == 200
        assert again.json()["committedAt"] == first.json()["committedAt"]
    for other in (
        {**values, "loadBalancerIPs": ["192.0.2.1"]}, {**values, "sovereignFQDN": "b.example.org"},
        {"loadBalancerIPs": values["loadBalancerIPs"]},
    ):  # fmt: skip
        assert refused(commit(service, label, token, **other)) == (409, "already-active")
    assert refused(commit(service, label, "another-token", **values)) == (403, "token-mismatch")
    assert service.get(label).json()["loadBalancerIPs"] == ["2001:db8::1", "192.0.2.1"]


def test_commit_that_is_refused(service: Service) -> None:
    """A commit without a reservation, with another's token, or too late is told why."""
    assert refused(service.commit(name(), "x")) == (404, "not-found")
    label = name()
    token = token_of(service, label)
    for wrong in ("", "x", "00000000-0000-4000-8000-000000000000", token[:-1], token * 500):
        assert refused(service.commit(label, wrong)) == (403, "token-mismatch")
    assert refused(commit(service, label, token, loadBalancerIP=ADDRESS, sovereignFQDN="a_b")) == (
        422,
        "invalid-format",
    )
    assert refused(service.commit("a_b", token)) == (422, "invalid-format")
    late, old = expired(service)
    assert refused(service.commit(late, old)) == (410, "reservation-expired")
    assert check(service, late)["available"]


@pytest.mark.parametrize(
    "named", [{}, {"poolDomain": "POOL"}, {"subdomain": "x"}, {"fqdn": "x.POOL", "subdomain": "x"}]
)
def test_name_that_is_not_named(service: Service, named: dict[str, str]) -> None:
    """A request names its allocation by fqdn, or by poolDomain and subdomain; nothing else is guessed."""
    named = {key: value.replace("POOL", service.pool) for key, value in named.items()}
    for path, more in (
        ("/v1/commit", {"reservationToken": "x", "loadBalancerIP": ADDRESS}), ("/v1/release", {}),
        ("/v1/renew", {"reservationToken": "x"}),
    ):  # fmt: skip
        assert refused(service.client.post(path, json={**named, **more})) == (422, "invalid-format")


def test_commit_by_pool_domain_and_subdomain(service: Service) -> None:
    """A commit may name its allocation as the reserve did."""
    label = name()
    token = token_of(service, label)
    body = {"poolDomain": service.pool, "subdomain": label, "reservationToken": token, "loadBalancerIP": ADDRESS}
    assert service.client.post("/v1/commit", json=body).json()["fqdn"] == f"{label}.{service.pool}"


# --- release ------------------------------------------------------------------------------------------


def test_release_of_each_state(service: Service) -> None:
    """A released name is free once its DNS is gone, and releasing what is not there is not-found."""
    label = name()
    assert refused(service.release(label)) == (404, "not-found")
    token_of(service, label)
    reply = service.release(label)
    assert (reply.status_code, reply.json()["fqdn"]) == (200, f"{label}.{service.pool}")
    assert set(reply.json()) <= ALWAYS | {"expiresAt"}
    assert refused(service.release(label)) == (404, "not-found")
    service.publish(label)
    reply = service.release(label)
    assert (reply.status_code, reply.json()["dns"]["state"]) == (200, "none")
    assert refused(service.release(label)) == (404, "not-found")
    assert check(service, label)["available"]


def test_release_of_an_expired_reservation(service: Service) -> None:
    """What has expired is not there to be released."""
    label, _ = expired(service)
    assert refused(service.release(label)) == (404, "not-found")
    assert refused(compat(service, "DELETE", "release", {"subdomain": label})) == (404, "not-found")


def test_delete_of_an_allocation(service: Service) -> None:
    """DELETE is release: 200 with the allocation, 404 where there is none."""
    label = name()
    path = f"/v1/allocations/{label}.{service.pool}"
    assert refused(service.client.delete(path)) == (404, "not-found")
    service.publish(label)
    reply = service.client.delete(path)
    assert (reply.status_code, reply.json()["fqdn"]) == (200, f"{label}.{service.pool}")
    assert refused(service.client.delete(path)) == (404, "not-found")


# --- looking ------------------------------------------------------------------------------------------


def test_get_of_an_allocation(service: Service) -> None:
    """One allocation is told as it was committed, without its token; what nobody holds is not-found."""
    label = name()
    published = service.publish(label)
    reply = service.get(label)
    assert reply.status_code == 200
    assert "reservationToken" not in reply.json()
    assert reply.json()["loadBalancerIP"] == published["loadBalancerIP"]
    assert refused(service.get(name())) == (404, "not-found")
    assert refused(service.client.get("/v1/allocations/nonsense")) == (422, "invalid-format")


def test_token_in_one_place_only(service: Service) -> None:
    """The token appears in the reply to its reserve and nowhere else."""
    label = name()
    token = token_of(service, label)
    fqdn = f"{label}.{service.pool}"
    seen = [
        service.client.post("/v1/renew", json={"fqdn": fqdn, "reservationToken": token}),
        service.reserve(label),
        service.commit(label, "wrong"),
        service.commit(label, token),
        service.commit(label, token, "192.0.2.99"),
        service.get(label),
        service.client.get("/v1/allocations", params={"limit": 500}),
        service.client.get(f"/v1/allocations/{fqdn}/events"),
        compat(service, "GET", "list"),
        service.client.get("/v1/check", params={"poolDomain": service.pool, "subdomain": label}),
        service.client.get("/metrics"),
        service.release(label),
    ]
    for reply in seen:
        assert token not in reply.text
        assert "reservationToken" not in reply.text
    assert token not in service.log.read_text()


def test_list_filtered(service: Service) -> None:
    """Filters narrow the list to what is asked for, each by itself and together."""
    creator, one, two = name("creator"), name(), name()
    token_of(service, one, createdBy=creator)
    service.commit(two, token_of(service, two, createdBy=creator))

    def listed(**query: str) -> set[str]:
        reply = service.client.get("/v1/allocations", params={"createdBy": creator, **query})
        assert reply.status_code == 200
        return {allocation["subdomain"] for allocation in reply.json()["allocations"]}

    assert listed() == {one, two}
    assert listed(poolDomain=service.pool, mode="pool") == {one, two}
    assert listed(state="reserved") == {one}
    assert listed(state="active") == {two}
    assert listed(state="releasing") == set()
    assert listed(createdBy="nobody") == set()
    assert service.client.get("/v1/allocations", params={"createdBy": "nobody"}).json() == {"allocations": []}


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"}, {"limit": "501"}, {"limit": "-1"}, {"limit": "x"}, {"limit": "1.5"}, {"limit": "9" * 30},
        {"state": "gone"}, {"mode": "x"}, {"cursor": "§"}, {"cursor": "a"}, {"cursor": "AAAA"},
    ],
)  # fmt: skip
def test_list_with_a_bad_query(service: Service, query: dict[str, str]) -> None:
    """A query parameter that cannot be used is refused and named."""
    reply = service.client.get("/v1/allocations", params=query)
    assert refused(reply) == (400, "invalid-query")
    assert next(iter(query)) in reply.json()["detail"]


def test_list_of_an_unknown_pool(service: Service) -> None:
    """A list of a domain that is no pool domain is refused, on both kinds of routes."""
    reply = service.client.get("/v1/allocations", params={"poolDomain": "elsewhere.test"})
    assert refused(reply) == (422, "unsupported-pool")
    assert refused(service.client.get("/api/v1/pool/elsewhere.test/list")) == (422, "unsupported-pool")


def test_list_paged_while_others_reserve(service: Service) -> None:
    """Pages hold every name that was there at the start exactly once, whatever is inserted meanwhile."""
    creator = name("creator")
    labels = sorted(f"m{number:03}{name()}" for number in range(104))
    assert {reply.status_code for reply in at_once(8, lambda worker: [
        service.reserve(label, createdBy=creator) for label in labels[worker::8]
    ][-1])} == {201}  # fmt: skip
    found: list[str] = []
    query: dict[str, str | int] = {"createdBy": creator, "limit": 7}
    for _ in range(40):
        page = service.client.get("/v1/allocations", params=query).json()
        assert len(page["allocations"]) == 7 or "nextCursor" not in page
        found += [allocation["subdomain"] for allocation in page["allocations"]]
        for label in (name("a"), name("z"), f"{found[-1]}x"):
            assert (
                service.reserve(label, createdBy=creator if label.startswith(("a", "m")) else "other").status_code
                == 201
            )
        if "nextCursor" not in page:
            break
        query["cursor"] = page["nextCursor"]
    assert "nextCursor" not in page
    assert sorted(set(found)) == found
    assert set(labels) <= set(found)
    first = service.client.get("/v1/allocations", params={"createdBy": creator}).json()
    assert len(first["allocations"]) == 100
    whole = service.client.get("/v1/allocations", params={"createdBy": creator, "limit": 500}).json()
    assert set(labels) <= {allocation["subdomain"] for allocation in whole["allocations"]}
    assert len(service.client.get("/v1/allocations", params={"limit": 1}).json()["allocations"]) == 1


def test_list_whose_last_page_is_full(service: Service) -> None:
    """A last page that happens to be full has no cursor."""
    creator = name("creator")
    for _ in range(4):
        token_of(service, name(), createdBy=creator)
    query: dict[str, str | int] = {"createdBy": creator, "limit": 2}
    first = service.client.get("/v1/allocations", params=query).json()
    second = service.client.get("/v1/allocations", params={**query, "cursor": first["nextCursor"]}).json()
    assert len(second["allocations"]) == 2
    assert "nextCursor" not in second


def test_events_of_a_life(service: Service) -> None:
    """The audit trail tells each transition, oldest first, and outlives the allocation."""
    label = name()
    service.publish(label)
    service.release(label)
    path = f"/v1/allocations/{label}.{service.pool}/events"
    body = service.client.get(path).json()
    assert set(body) == {"fqdn", "events"}
    told = [(one["action"], one.get("fromState"), one.get("toState")) for one in body["events"]]
    assert told == [
        ("reserved", None, "reserved"), ("committed", "reserved", "active"), ("published", "active", "active"),
        ("released", "active", "releasing"), ("removed", "releasing", None),
    ]  # fmt: skip
    for one in body["events"]:
        assert set(one) <= {"at", "action", "actor", "requestId", "fromState", "toState", "outcome"}
        assert one["actor"]
    times = [one["at"] for one in body["events"]]
    assert sorted(times) == times
    assert refused(service.client.get(f"/v1/allocations/{name()}.{service.pool}/events")) == (404, "not-found")


def test_events_paged(service: Service) -> None:
    """The audit trail comes in pages as well, none of its entries lost or told twice."""
    label = name()
    service.publish(label)
    service.release(label)
    path = f"/v1/allocations/{label}.{service.pool}/events"
    actions: list[str] = []
    query: dict[str, str | int] = {"limit": 2}
    for _ in range(3):
        page = service.client.get(path, params=query).json()
        actions += [one["action"] for one in page["events"]]
        query["cursor"] = page.get("nextCursor", "")
    assert actions == ["reserved", "committed", "published", "released", "removed"]
    assert "nextCursor" not in page
    for bad in ({"limit": 0}, {"limit": 501}, {"cursor": "§"}, {"cursor": "YWJj"}):
        assert refused(service.client.get(path, params=bad)) == (400, "invalid-query")


def test_what_the_wizard_shows(service: Service) -> None:
    """Pools, nameservers and reserved words are told as the platform has them."""

    def ready() -> bool:
        (pool,) = service.client.get("/v1/pools").json()["pools"]
        assert pool["poolDomain"] == service.pool
        assert pool["nameservers"] == list(NAMESERVERS)
        return pool["state"] == "ready" and bool(pool["dnssec"]["ds"])

    assert eventually(ready, 10)
    assert service.client.get("/v1/nameservers").json() == {"nameservers": list(NAMESERVERS)}
    words = service.client.get("/v1/reserved").json()
    assert sorted(set(words["reserved"])) == words["reserved"]
    assert {"www", "console", "smtp"} <= set(words["reserved"])
    assert service.client.get("/api/v1/reserved").json() == {"reserved": words["reserved"]}


# --- operations ---------------------------------------------------------------------------------------


def test_health(service: Service) -> None:
    """Health, readiness, metrics and the API's document are there for operators."""
    health = service.client.get("/healthz")
    assert health.status_code == 200
    assert set(health.json()) == {"status", "managedDomains", "registrars"}
    assert (health.json()["status"], health.json()["managedDomains"]) == ("ok", [service.pool])
    assert sorted(health.json()["registrars"]) == health.json()["registrars"]
    assert service.client.get("/readyz").json() == {"ready": True, "database": "ok", "powerdns": "ok"}
    metrics = service.client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'pdm_http_requests_total{method="GET",route="/healthz",status="200"}' in metrics.text
    # Pool domains are the platform's own; what lies below them is a customer's.
    assert f".{service.pool}" not in metrics.text
    document = service.client.get("/schema/openapi.json")
    assert document.status_code == 200
    assert document.json()["openapi"].startswith("3.")


def test_openapi_document_names_every_route(service: Service) -> None:
    """The API's document names every route of the contract that this release serves."""
    paths = service.client.get("/schema/openapi.json").json()["paths"]
    found = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    expected = {
        "GET /v1/check", "POST /v1/reserve", "POST /v1/renew", "POST /v1/commit", "POST /v1/release",
        "GET /v1/allocations", "GET /v1/allocations/{fqdn}", "DELETE /v1/allocations/{fqdn}",
        "GET /v1/allocations/{fqdn}/events", "GET /v1/pools", "GET /v1/nameservers", "GET /v1/reserved",
        "GET /api/v1/pool/{domain}/check", "POST /api/v1/pool/{domain}/reserve", "POST /api/v1/pool/{domain}/commit",
        "DELETE /api/v1/pool/{domain}/release", "GET /api/v1/pool/{domain}/list", "GET /api/v1/reserved",
        "GET /healthz", "GET /livez", "GET /readyz", "GET /metrics",
    }  # fmt: skip
    assert expected <= found


def test_openapi_document_tells_what_is_answered(service: Service) -> None:
    """The API's document tells of 202 and of the errors, with the body that they have."""
    document = service.client.get("/schema/openapi.json").json()
    for path, statuses in (
        ("/v1/reserve", {"201", "400", "409", "422", "503"}),
        ("/v1/commit", {"200", "202", "400", "403", "404", "409", "410", "422", "503"}),
        ("/v1/release", {"200", "202", "400", "404", "422", "503"}),
        ("/api/v1/pool/{domain}/commit", {"200", "202", "400", "403", "404", "409", "410", "422", "503"}),
    ):
        responses = document["paths"][path]["post"]["responses"]
        assert statuses <= set(responses), path
        refusal = str(responses["400"]) + str(document["components"]["schemas"].get("Problem"))
        assert "status_code" not in refusal
        assert "'error'" in refusal


def test_route_that_is_not_there(service: Service) -> None:
    """Unknown routes and methods are problems as well."""
    assert service.client.get("/v1/nowhere").status_code == 404
    assert service.client.get("/").status_code == 404
    assert service.client.get("/v1/reserve").status_code == 405
    assert service.client.put("/v1/check").status_code == 405


# --- the existing provisioner -----------------------------------------------------------------------------


def test_compat_check_of_each_reason(service: Service) -> None:
    """The existing provisioner gets 200 whatever the answer, with one of five words."""
    label = name()
    assert compat(service, "GET", "check", sub=label).json() == {"available": True, "fqdn": f"{label}.{service.pool}"}

    def reason(sub: str, pool: str = service.pool) -> str:
        reply = service.client.get(f"/api/v1/pool/{pool}/check", params={"sub": sub})
        assert reply.status_code == 200
        assert set(reply.json()) <= {"available", "reason", "detail", "fqdn"}
        assert reply.json()["available"] is False
        assert reply.json()["detail"]
        return reply.json()["reason"]

    for bad in BAD_LABELS:
        assert reason(bad) == "invalid-format"
    assert reason(label, "elsewhere.test") == "unsupported-pool"
    assert reason(label, "%00") == "unsupported-pool"
    assert reason("www") == "reserved"
    token = token_of(service, label)
    assert reason(label) == "reserved-state"
    service.commit(label, token)
    assert reason(label) == "active-state"
    assert compat(service, "GET", "check").json()["reason"] == "invalid-format"


def test_compat_life(service: Service) -> None:
    """The existing provisioner takes a name from reserve to release, with exactly the fields that it reads."""
    label = name()
    reply = compat(
        service, "POST", "reserve", {"subdomain": label.upper(), "createdBy": "wizard", "colour": {"x": [None]}}
    )
    assert reply.status_code == 201
    held = reply.json()
    fields = {"poolDomain", "subdomain", "state", "reservedAt", "expiresAt", "reservationToken", "createdBy"}
    assert set(held) == fields
    assert (held["poolDomain"], held["subdomain"]) == (service.pool, label)
    assert (held["state"], held["createdBy"]) == ("reserved", "wizard")
    body = {
        "subdomain": label, "reservationToken": held["reservationToken"],
        "sovereignFQDN": f"{label}.{service.pool}", "loadBalancerIP": ADDRESS, "colour": 1,
    }  # fmt: skip
    reply = compat(service, "POST", "commit", body)
    assert reply.status_code == 200
    assert set(reply.json()) == COMMITTED | {"dnssec"}
    assert compat(service, "POST", "commit", body).status_code == 200
    assert refused(compat(service, "POST", "commit", {**body, "loadBalancerIP": "192.0.2.99"})) == (
        409,
        "already-active",
    )
    assert refused(compat(service, "POST", "commit", {**body, "reservationToken": "x"})) == (403, "token-mismatch")
    listed = compat(service, "GET", "list").json()
    assert set(listed) == {"poolDomain", "allocations"}
    assert label in {one["subdomain"] for one in listed["allocations"]}
    reply = compat(service, "DELETE", "release", {"subdomain": label, "colour": 1})
    assert reply.status_code == 200
    assert set(reply.json()) == {"freed"}
    assert reply.json()["freed"]["fqdn"] == f"{label}.{service.pool}"
    assert refused(compat(service, "DELETE", "release", {"subdomain": label})) == (404, "not-found")


def test_compat_created_by_default(service: Service) -> None:
    """A reserve that does not say who is asking is the existing provisioner's."""
    label = name()
    assert compat(service, "POST", "reserve", {"subdomain": label}).json()["createdBy"] == "catalyst-api"
    assert service.get(label).json()["createdBy"] == "catalyst-api"


def test_compat_commit_that_is_refused(service: Service) -> None:
    """Each refusal of a commit has its code."""
    label = name()
    body = {"subdomain": label, "reservationToken": "x", "sovereignFQDN": "a.b", "loadBalancerIP": ADDRESS}
    assert refused(compat(service, "POST", "commit", body)) == (404, "not-found")
    assert refused(compat(service, "POST", "commit", {**body, "subdomain": "a_b"})) == (422, "invalid-format")
    token = token_of(service, label)
    good = {**body, "reservationToken": token}
    assert refused(compat(service, "POST", "commit", body)) == (403, "token-mismatch")
    assert refused(compat(service, "POST", "commit", {**good, "sovereignFQDN": "a_b"})) == (422, "invalid-format")
    reply = service.client.post("/api/v1/pool/elsewhere.test/commit", json=good)
    assert refused(reply) == (422, "unsupported-pool")
    late, old = expired(service)
    body = {**body, "subdomain": late, "reservationToken": old}
    assert refused(compat(service, "POST", "commit", body)) == (410, "reservation-expired")


def test_compat_release_by_query(service: Service) -> None:
    """A release may name the label in its query instead of a body; without either it is refused."""
    label = name()
    token_of(service, label)
    reply = compat(service, "DELETE", "release", sub=f" {label.upper()}")
    assert (reply.status_code, reply.json()["freed"]["subdomain"]) == (200, label)
    assert refused(compat(service, "DELETE", "release", sub=label)) == (404, "not-found")
    assert refused(compat(service, "DELETE", "release")) == (422, "invalid-format")
    assert refused(compat(service, "DELETE", "release", sub="a_b")) == (422, "invalid-format")
    assert refused(service.client.delete("/api/v1/pool/elsewhere.test/release?sub=a")) == (422, "unsupported-pool")
    other = name()
    token_of(service, other)
    assert compat(service, "DELETE", "release", {"other": 1}, sub=other).status_code == 200
