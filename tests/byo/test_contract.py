"""What callers may rely on with domains of their own."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg

from adapters.conformance.played import Server
from tests.api.test_callers import Caller, line
from tests.byo.conftest import Byo, Registry
from tests.eventually import eventually
from tests.service import ADDRESS, Service, name
from tests.tree import PLATFORM_NAMES, Tree


def problem(reply: object) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]  # type: ignore[attr-defined]


RESERVES: list[tuple[dict, tuple[int, str] | None]] = [
    ({"mode": "byo-manual"}, (400, "invalid-body")),
    ({"mode": "byo-manual", "poolDomain": "a.test", "subdomain": "b"}, (400, "invalid-body")),
    ({"mode": "byo-manual", "domain": "acme.zz", "subdomain": "b"}, (400, "invalid-body")),
    ({"mode": "pool", "domain": "acme.zz"}, (400, "invalid-body")),
    ({"domain": "acme.zz"}, (400, "invalid-body")),
    ({"mode": "other", "domain": "acme.zz"}, (400, "invalid-body")),
    ({"mode": "byo-manual", "domain": 7}, (400, "invalid-body")),
    ({"mode": "byo-manual", "domain": "acme.zz", "extra": 1}, (400, "invalid-body")),
    ({"mode": "byo-manual", "domain": "no_name"}, (422, "invalid-format")),
    ({"mode": "byo-manual", "domain": "zz"}, (422, "invalid-format")),
    ({"mode": "byo-manual", "domain": "co.uk"}, (422, "invalid-format")),
    ({"mode": "byo-manual", "domain": "acme.test"}, (422, "invalid-format")),
    ({"mode": "byo-manual", "domain": "x.example.com"}, None),
    ({"mode": "byo-api", "domain": "x.acme.com"}, (422, "invalid-format")),
    ({"mode": "byo-manual", "domain": "acme.zz", "ttlSeconds": 0}, (422, "invalid-ttl")),
    ({"mode": "byo-manual", "domain": "acme.zz", "createdBy": "{x}"}, (422, "invalid-text")),
]


def test_reserve(byo: Byo) -> None:
    """A reserve of a domain takes a domain, and nothing else; a wrong one is refused with its code."""
    for body, expected in RESERVES:
        reply = byo.post("/v1/reserve", **body)
        assert (body, problem(reply) if expected else reply.status_code) == (body, expected or 201)


def test_reservation(byo: Byo) -> None:
    """The reply has what the customer has to set, and a token that is told once; no null anywhere."""
    held = byo.reserve(createdBy="wizard", ttlSeconds=3600)
    assert (held["fqdn"], held["mode"], held["state"], held["createdBy"]) == (
        byo.domain,
        "byo-manual",
        "reserved",
        "wizard",
    )
    assert held["nameservers"] == list(PLATFORM_NAMES)
    assert held["challenge"] == {**held["challenge"], "name": f"_openova-challenge.{byo.domain}", "type": "TXT"}
    assert held["dns"] == {"state": "none"}
    assert not {"poolDomain", "subdomain", "proof", "keepUntil"} & set(held)
    assert "reservationToken" not in byo.get()
    assert None not in held.values()
    (event,) = byo.service.client.get(f"/v1/allocations/{byo.domain}/events").json()["events"][:1]
    assert (event["action"], event["outcome"]) == ("reserved", "byo-manual")


def test_idempotency_key(byo: Byo) -> None:
    """The same key and body get the same claim, with a token that works; another body is refused."""
    key = {"Idempotency-Key": name("key")}
    body = {"mode": "byo-manual", "domain": byo.domain}
    first, second = (byo.service.client.post("/v1/reserve", json=body, headers=key).json() for _ in range(2))
    assert first == second
    other = byo.service.client.post("/v1/reserve", json={**body, "mode": "byo-api"}, headers=key)
    assert problem(other) == (422, "idempotency-key-reused")
    byo.token = first["reservationToken"]
    assert byo.renewed()["fqdn"] == byo.domain


def test_claims_beside_each_other(byo: Byo) -> None:
    """Several may claim one domain; each has a challenge and a token of his own, and all are listed."""
    claims = [Byo(byo.service, byo.tree, byo.domain) for _ in range(3)]
    challenges = {claim.reserve()["challenge"]["value"] for claim in claims}
    assert len(challenges) == 3
    query = {"mode": "byo-manual", "limit": 2}
    first = byo.service.client.get("/v1/allocations", params=query).json()
    rest = byo.service.client.get("/v1/allocations", params={**query, "cursor": first["nextCursor"]}).json()
    listed = [one["challenge"]["value"] for one in first["allocations"] + rest["allocations"]]
    assert sorted(listed) == sorted(challenges)
    assert "nextCursor" not in rest
    assert problem(byo.post("/v1/release", fqdn=byo.domain)) == (409, "conflict")
    for claim in claims:
        reply = byo.post("/v1/release", fqdn=byo.domain, reservationToken=claim.token)
        assert (reply.status_code, reply.json()["fqdn"]) == (200, byo.domain)
    assert problem(byo.post("/v1/release", fqdn=byo.domain)) == (404, "not-found")


def test_token(byo: Byo) -> None:
    """Without the claim's token nobody commits or renews it."""
    byo.reserve()
    byo.token = "c0ffee00-0000-4000-8000-000000000000"
    assert problem(byo.commit()) == (403, "token-mismatch")
    assert problem(byo.post("/v1/renew", fqdn=byo.domain, reservationToken=byo.token)) == (403, "token-mismatch")
    assert problem(byo.post("/v1/release", fqdn=byo.domain, reservationToken=byo.token)) == (404, "not-found")
    byo.domain = f"x{byo.domain}"
    assert problem(byo.commit()) == (404, "not-found")


def test_claim_that_is_over(byo: Byo) -> None:
    """A claim whose time is over is as if it were not there, and is told so to its holder."""
    byo.reserve()
    byo.service.execute("UPDATE claims SET expires_at = now()")
    assert problem(byo.commit()) == (410, "reservation-expired")
    assert byo.service.client.get(f"/v1/allocations/{byo.domain}").status_code == 404
    assert byo.service.client.get("/v1/allocations", params={"mode": "byo-manual"}).json() == {"allocations": []}


def test_commit_again(byo: Byo, customer: str) -> None:
    """The same commit may be repeated for ever, before the proof and after; other values are refused."""
    byo.reserve()
    for _ in range(2):
        assert byo.commit().status_code == 202
    assert problem(byo.commit(loadBalancerIP="192.0.2.99")) == (409, "already-active")
    byo.prove()
    byo.until("the zone to be served", lambda one: one["dns"]["state"] == "published")
    for _ in range(2):
        assert byo.commit().status_code == 200
    assert problem(byo.commit(loadBalancerIP="192.0.2.99")) == (409, "already-active")
    assert byo.get()["loadBalancerIP"] == ADDRESS


def test_proof_before_the_commit(byo: Byo, customer: str) -> None:
    """Where the record is there already the commit finds it by itself, and the zone is served at once."""
    byo.reserve()
    byo.prove()
    reply = byo.commit()
    assert reply.status_code == 200, reply.text
    assert byo.served()


def test_proof_while_somebody_looks(byo: Byo, customer: str) -> None:
    """A commit waits for a look that began before its record was set, and looks itself."""
    byo.reserve()
    byo.prove()
    assert byo.delegation()
    byo.service.execute("UPDATE watches SET lease_id = gen_random_uuid(), lease_until = now() + interval '2 seconds'")
    reply = byo.commit()
    assert reply.status_code == 200, reply.text


def test_delegation_of_any_domain(byo: Byo, customer: str) -> None:
    """The state of a delegation is told also of a domain that nobody has, and is looked at when asked for."""
    found = byo.delegation()
    assert (found["phase"], found["extra"], found["progress"]["parentsTotal"]) == (
        "awaiting-customer",
        ["ns1.old.zz", "ns2.old.zz"],
        2,
    )
    assert "nextCheckAt" not in found
    assert {one["role"] for one in found["servers"]} == {"parent", "ns", "other"}
    assert byo.delegation() == found
    byo.tree.delegate(customer, PLATFORM_NAMES)
    eventually(lambda: byo.delegation(fresh=True)["phase"] == "delegated", 10)
    assert byo.service.client.get("/v1/delegations/no_name").status_code == 422


def test_fresh_look_too_soon(byo: Byo, customer: str) -> None:
    """A fresh look is had every two of the first pauses at most; sooner the last one is told."""
    first = byo.delegation()
    assert byo.delegation(fresh=True)["checkedAt"] == first["checkedAt"]
    byo.service.execute("UPDATE watches SET looked_at = now() - interval '3 seconds'")
    assert byo.delegation(fresh=True)["checkedAt"] > first["checkedAt"]


def test_tokens_are_kept_nowhere(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A registrar's token that did all that it can do is in no table, log line, metric or reply."""
    api.reserve("byo-api")
    replies = [api.flip().text, api.post("/v1/rollback", fqdn=customer, **api.credential).text]
    api.phase("left", "awaiting-customer", "partial", "converging", "live")
    replies.append(api.post("/v1/release", fqdn=customer, **api.credential).text)
    replies += [
        api.service.log.read_text(),
        api.service.client.get("/metrics").text,
        str(api.undo()),
        str(api.events()),
    ]
    replies.append(asyncio.run(everything(api.service.environment["PDM_DATABASE_URL"])))
    assert customer in replies[-1]
    assert not [text for text in replies if registrar.token in text]


async def everything(database_url: str) -> str:
    """All rows of all tables, as text."""
    connection = await asyncpg.connect(database_url)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [await connection.fetch(f"SELECT to_jsonb(t)::text FROM {table['tablename']} t") for table in tables]
    await connection.close()
    return str(rows)


def test_without_a_way_into_the_dns(new_service, domain: str) -> None:
    """Where looks are switched off nothing is found out, and a registrar's token moves nothing."""
    service = new_service().start()
    found = service.client.get(f"/v1/delegations/{domain}").json()
    assert found["problems"][0]["code"] == "parent-unreachable"
    assert [line for line in service.lines() if line["message"] == "no root hints"]


def test_claim_of_somebody_else(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, directory: Path
) -> None:
    """That another client claims a domain is not to be seen in its delegation; it looks as if nobody had it."""
    file = directory / f"callers-{customer}.jsonl"
    file.write_text("\n".join(line(one, f"key-{one}", "allocate") for one in ("alice", "bob")))
    service = new_byo_service(PDM_AUTH_TOKENS_FILE=str(file)).start()
    alice, bob = Caller(service, "alice"), Caller(service, "bob")
    assert alice("POST", "/v1/reserve", json={"mode": "byo-manual", "domain": customer}).status_code == 201
    eventually(lambda: "nextCheckAt" in alice("GET", f"/v1/delegations/{customer}").json())
    seen = bob("GET", f"/v1/delegations/{customer}")
    assert seen.status_code == 200, seen.text
    assert "nextCheckAt" not in seen.json()
    assert bob("GET", f"/v1/allocations/{customer}").status_code == 404
