"""set-ns, a change of nameservers alone: a DS that does not fit the new ones is not left behind unseen."""

from collections.abc import Callable

import httpx
import pytest

from adapters.conformance.played import Domain, Server
from tests.byo.conftest import Byo, Registry, at
from tests.eventually import eventually
from tests.registrars import DS_SETTERS, SETTERS
from tests.service import Service
from tests.tree import OLD_NAMES, PLATFORM_NAMES, TLD, Tree

NEW = ["ns1.third.test", "ns2.third.test"]
DS = f"4711 13 2 {'ab' * 32}"

everywhere = pytest.mark.parametrize("registrar", SETTERS, indirect=True)


def set_ns(api: Byo, registrar: Server, nameservers: list[str], **more: object) -> httpx.Response:
    body = {"domain": api.domain, "token": registrar.token, "nameservers": nameservers, **more}
    return api.post(f"/api/v1/registrar/{registrar.about.name}/set-ns", **body)


def refused(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json().get("error", reply.text)


@everywhere
def test_ds_at_the_parent(api: Byo, customer: str, registrar: Server) -> None:
    """With a DS at the parent nothing is changed, and the caller is told what to do; acknowledged, it is."""
    registrar.instant = True
    api.tree.delegate(customer, OLD_NAMES, [DS], only=0)
    reply = set_ns(api, registrar, NEW)
    assert refused(reply) == (409, "ds-present")
    assert all(words in reply.json()["detail"] for words in ("4711", "remove the DS", "wait 1 s", "BYO-DS"))
    assert not registrar.writes
    assert set_ns(api, registrar, list(OLD_NAMES)).json()["nameservers"] == list(OLD_NAMES), "no change is no danger"
    reply = set_ns(api, registrar, NEW, acknowledge=["BYO-DS"])
    assert reply.status_code == 200, reply.text
    assert sorted(registrar.domains[customer].nameservers) == NEW


@everywhere
def test_no_ds(api: Byo, customer: str, registrar: Server) -> None:
    """Without a DS nothing has to be acknowledged."""
    registrar.instant = True
    reply = set_ns(api, registrar, NEW)
    assert reply.status_code == 200, reply.text
    assert sorted(registrar.domains[customer].nameservers) == NEW


@pytest.mark.parametrize("registrar", DS_SETTERS, indirect=True)
def test_ds_at_the_registrar_alone(api: Byo, customer: str, registrar: Server) -> None:
    """A DS that the registrar has on record will be at the parent soon."""
    registrar.domains[customer].ds = [ds_of(registrar, customer)]
    reply = set_ns(api, registrar, NEW)
    assert refused(reply) == (409, "ds-present")
    assert "the registrar has a DS" in reply.json()["detail"]
    assert not [seen for seen in registrar.writes if registrar.is_change(seen)]


def ds_of(registrar: Server, domain: str) -> dict[str, object]:
    """A DS as the played registrar keeps it."""
    key = registrar.some_ds[0]
    kept = {"flags": key.flags, "algorithm": key.algorithm, "publicKey": key.public_key, "tag": key.key_tag}
    fields = {"key_tag": key.key_tag, "algorithm": key.algorithm, "digest_type": key.digest_type, "digest": key.digest}
    return {**fields, "key": kept} if registrar.about.name == "ovh" else fields


@pytest.mark.parametrize("registrar", ["namecheap"], indirect=True)
def test_ds_that_has_just_gone(api: Byo, customer: str, registrar: Server) -> None:
    """A DS that was seen at the parent counts until no resolver has it any more."""
    api.tree.delegate(customer, OLD_NAMES, [DS], ds_ttl=600)
    assert refused(set_ns(api, registrar, NEW)) == (409, "ds-present")
    api.tree.delegate(customer, OLD_NAMES)
    reply = set_ns(api, registrar, NEW)
    assert refused(reply) == (409, "ds-present")
    assert "resolvers may have it until" in reply.json()["detail"]
    api.service.execute("UPDATE watches SET memory = jsonb_set(memory, '{ds_seen_at}', '\"2026-01-01T00:00:00Z\"')")
    assert eventually(lambda: set_ns(api, registrar, NEW).status_code == 200)


@pytest.mark.parametrize("registrar", ["namecheap"], indirect=True)
def test_parent_that_cannot_be_asked(
    new_byo_service: Callable[..., Service], tree: Tree, customer: str, registrar: Server
) -> None:
    """Where the parent zone does not answer it is not known whether there is a DS: nothing is changed."""
    nowhere = f"a.rootsrv={tree.address()}"
    api = Byo(new_byo_service(PDM_DNS_ROOT_HINTS=nowhere, **at(registrar)).start(), tree, customer)
    assert refused(set_ns(api, registrar, NEW)) == (409, "ds-unknown")
    assert set_ns(api, registrar, list(OLD_NAMES)).status_code == 200
    assert set_ns(api, registrar, NEW, acknowledge=["BYO-DS"]).status_code == 200


def test_key_of_the_platform(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """A domain that the platform has secured is not taken elsewhere either."""
    api.reserve("byo-api")
    assert api.flip().status_code == 200
    registrar.domains[customer].ds = [ds_of(registrar, customer)]
    eventually(lambda: api.delegation(fresh=True)["phase"] == "blocked", 20)
    assert refused(set_ns(api, registrar, NEW)) == (409, "ds-present")


# --- addresses of nameservers ---------------------------------------------------------------------------

GLUE_SETTERS = ("dynadot-api3", "dynadot-rest", "namecheap", "ovh")


@pytest.mark.parametrize("registrar", GLUE_SETTERS, indirect=True)
def test_glue(api: Byo, customer: str, registrar: Server) -> None:
    """Nameservers inside the domain are registered with their address first: one for all, or one each, in order."""
    registrar.instant = True
    hosts = [f"ns1.{customer}", f"NS2.{customer}."]
    reply = set_ns(api, registrar, hosts, glueIP="192.0.2.1")
    assert reply.status_code == 200, reply.text
    assert registrar.glue == {f"ns{number}.{customer}": ["192.0.2.1"] for number in (1, 2)}
    assert sorted(registrar.domains[customer].nameservers) == [f"ns1.{customer}", f"ns2.{customer}"]
    assert set_ns(api, registrar, hosts, glueIP=["192.0.2.7", "192.0.2.8"]).status_code == 200
    assert registrar.glue == {f"ns1.{customer}": ["192.0.2.7"], f"ns2.{customer}": ["192.0.2.8"]}


@pytest.mark.parametrize("registrar", ["godaddy-key"], indirect=True)
def test_glue_where_there_is_no_way(api: Byo, customer: str, registrar: Server) -> None:
    """Where the service cannot register nameservers nothing is changed, and what to do by hand is told."""
    reply = set_ns(api, registrar, [f"ns1.{customer}", "ns.third.test"], glueIP="192.0.2.1")
    assert refused(reply) == (422, "unsupported-operation")
    assert f"register ns1.{customer} with 192.0.2.1 on its site" in reply.json()["detail"]
    assert not registrar.writes


@pytest.mark.parametrize(
    ("nameservers", "addresses", "error"),
    [
        (["ns1.third.test", "ns2.third.test"], "192.0.2.1", "invalid-format"),
        (["ns1.{}", "ns2.third.test"], ["192.0.2.1", "192.0.2.2"], "invalid-format"),
        (["ns1.{}", "ns2.{}"], "127.0.0.1", "invalid-address"),
        (["ns1.{}", "ns2.{}"], "ns1.example.net", "invalid-address"),
    ],
)
def test_glue_that_cannot_be_meant(
    api: Byo, customer: str, registrar: Server, nameservers: list[str], addresses: object, error: str
) -> None:
    """Addresses for no nameserver, of another number, or that nobody can reach are refused before anything is asked."""
    reply = set_ns(api, registrar, [one.format(customer) for one in nameservers], glueIP=addresses)
    assert reply.json()["error"] == error, reply.text
    assert not registrar.seen


def test_hosts_of_the_platform(api: Byo, customer: str, registrar: Server, registry: Registry) -> None:
    """Where a registrar takes the platform's nameservers only with their addresses, it is given the configured ones."""
    registrar.refused = set(PLATFORM_NAMES)  # type: ignore[attr-defined]
    registrar.domains[TLD] = Domain()  # their own domain is in the same account
    api.reserve("byo-api")
    assert api.flip().status_code == 200
    ours = dict(zip(PLATFORM_NAMES, ([one] for one in api.tree.ours.addresses), strict=True))
    assert registrar.glue == ours
    api.phase("live")
