"""What is particular to Cloudflare."""

import asyncio
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import cloudflare
import pytest

from adapters.base import (
    AddressNotAllowed,
    DomainNotInAccount,
    InvalidCredential,
    ManagedByRegistrar,
    MissingPermission,
    RateLimited,
    RegistrarError,
    Unavailable,
)
from adapters.conformance.played import OLD, Answer, Server, reply
from tests.adapters.conftest import playing
from tests.patience import patient
from tests.registrars.cloudflare import ACCOUNT, Cloudflare, error, ok

DOMAIN = "example.com"
DS = {"key_tag": 40237, "algorithm": 13, "digest_type": 2, "digest": "ab" * 32}


@pytest.fixture
def server() -> Iterator[Server]:
    yield from playing("cloudflare")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(400, 6003, "Invalid request headers", error_chain=[{"code": 6111, "message": "marked"}]), InvalidCredential),
        (error(401, 1000, "Invalid API Token"), InvalidCredential),
        (error(403, 9109, "Unauthorized to access requested resource"), MissingPermission),
        (error(403, 9109, "Invalid access token"), InvalidCredential),
        (error(403, 9109, "Cannot use the access token from location: 192.0.2.1"), AddressNotAllowed),
        (error(403, 9109, "Max auth failures reached, please check your Authorization header."), RateLimited),
        (error(403, 9109, "Something about Invalid access token"), MissingPermission),
        (error(403, 0, "Actor 'x' requires permission 'com.cloudflare.api.account.zone.read' to list zones"), MissingPermission),
        (error(403, 10000, "Authentication error"), MissingPermission),
        (error(401, 10000, "Authentication error"), MissingPermission),
        (error(404, 7003, "Could not route to /zones"), DomainNotInAccount),
        (error(429, 971, "Please wait", {"Retry-After": "240"}), RateLimited),
        (error(500, 0, "marked"), Unavailable), (error(503, 10001, "marked"), Unavailable),
        (Answer(521, b"<html>marked</html>"), Unavailable), (Answer(429, b"<html>1015</html>"), RateLimited),
        (Answer(200, b'{"success":false,"errors":[],"messages":[],"result":null}'), Unavailable),
    ],
)  # fmt: skip
async def test_error(server: Cloudflare, registrar: Any, answer: Answer, kind: type[RegistrarError]) -> None:
    """Each documented error is told as its kind, without Cloudflare's words; 9109 by how its message starts."""
    server.fault(lambda s, h, seen: seen.path.endswith("/zones") and reply(answer)(s, h, seen))
    with pytest.raises(RegistrarError) as caught:
        await registrar.validate(server.token, DOMAIN, within=patient(0.45))
    assert type(caught.value) is kind
    assert "marked" not in str(caught.value)


@pytest.mark.parametrize("status", ["expired", "disabled", "something new"])
async def test_token_that_is_not_active(server: Cloudflare, registrar: Any, status: str) -> None:
    """A token that may not look is asked about: one that has expired or is disabled is a refused credential."""
    server.status = status
    with pytest.raises(InvalidCredential) as caught:
        await registrar.validate(server.token, DOMAIN)
    assert "new" not in caught.value.detail


async def test_token_without_the_right_to_look(server: Cloudflare, registrar: Any) -> None:
    """An active token that may not read zones misses a permission."""
    server.zones_allowed = False
    with pytest.raises(MissingPermission):
        await registrar.validate(server.token, DOMAIN)


async def test_token_of_an_account(server: Cloudflare, registrar: Any) -> None:
    """A token that an account owns works, and is never held against the user's verify call, which refuses it."""
    server.token = "cfat_0123456789abcdef0123456789abcdef"
    assert (await registrar.validate(server.token, DOMAIN)).nameservers == OLD
    with pytest.raises(DomainNotInAccount):
        await registrar.validate(server.token, "example.co.uk")
    assert not [seen for seen in server.seen if seen.path.endswith("verify")]


async def test_token_of_an_account_in_the_old_form(server: Cloudflare, registrar: Any) -> None:
    """A token that an account owns need not show it: one that may look, and sees no zone, is not refused by verify."""
    server.of_account = True
    with pytest.raises(DomainNotInAccount):
        await registrar.validate(server.token, "example.co.uk")
    with pytest.raises(InvalidCredential):
        await registrar.validate(server.wrong_token, DOMAIN)


async def test_zones_of_one_name_in_two_accounts(server: Cloudflare, registrar: Any) -> None:
    """Of two zones of the domain the one counts whose account has it registered, for DS too; none: it is elsewhere."""
    server.others = {"anotheraccount": ["x.ns.test", "y.ns.test"]}
    server.domains[DOMAIN].ds = [DS]
    assert (await registrar.validate(server.token, DOMAIN)).nameservers == OLD
    assert len(await registrar.get_ds(server.token, DOMAIN)) == 1
    server.elsewhere = {DOMAIN}
    with pytest.raises(DomainNotInAccount):
        await registrar.validate(server.token, DOMAIN)


async def test_permission_that_is_missing_is_named(server: Cloudflare, registrar: Any) -> None:
    """A permission that Cloudflare names is told."""
    text = "Actor 'x' requires permission 'com.cloudflare.api.account.zone.read' to list zones"
    server.fault(lambda s, h, seen: seen.path.endswith("/zones") and reply(error(403, 0, text))(s, h, seen))
    with pytest.raises(MissingPermission, match=r"lacks the permission com\.cloudflare\.api\.account\.zone\.read$"):
        await registrar.validate(server.token, DOMAIN)


async def test_domain_registered_elsewhere(server: Cloudflare, registrar: Any) -> None:
    """A domain that only has a zone here is not in the account, with a hint where to go."""
    server.elsewhere = {DOMAIN}
    with pytest.raises(DomainNotInAccount) as caught:
        await registrar.validate(server.token, DOMAIN)
    assert "zone" in caught.value.detail


async def test_token_that_may_not_read_registrations(server: Cloudflare, registrar: Any) -> None:
    """Where registrations cannot be read that is told; the nameservers cannot be set in either case."""
    server.registrar_allowed = False
    found = await registrar.validate(server.token, DOMAIN)
    assert found.can_set_nameservers is False
    assert isinstance(found.obstacle, ManagedByRegistrar)
    assert len(found.warnings) == 2


async def test_zone_on_a_later_page(server: Cloudflare, registrar: Any) -> None:
    """All pages are looked through, and only the zone of exactly that name counts."""
    server.similar = 45
    assert (await registrar.validate(server.token, DOMAIN)).nameservers == OLD
    pages = [seen.query["page"] for seen in server.seen if seen.path.endswith("/zones")]
    assert pages == ["1", "2", "3"]


async def test_ds(server: Cloudflare, registrar: Any) -> None:
    """The DS that Cloudflare publishes for its own keys is told."""
    server.domains[DOMAIN].ds = [DS]
    (found,) = await registrar.get_ds(server.token, DOMAIN)
    assert found.rdata == (40237, 13, 2, "ab" * 32)


@pytest.mark.parametrize("more", [{"algorithm": None}, {"digest_type": "SHA"}, {"key_tag": None}, {"digest": None}])
async def test_ds_that_is_not_whole(server: Cloudflare, registrar: Any, more: dict[str, object]) -> None:
    """A DS with a part missing is no DS, and does not mean that there is none."""
    body = {"status": "active", "key_tag": 1, "algorithm": "13", "digest_type": "2", "digest": "ab", **more}
    server.fault(lambda s, h, seen: seen.path.endswith("/dnssec") and reply(ok(body))(s, h, seen))
    with pytest.raises(Unavailable):
        await registrar.get_ds(server.token, DOMAIN, within=patient(0.45))


async def test_played_server_beside_the_official_client(server: Cloudflare) -> None:
    """Cloudflare's own client library reads from the played server what our adapter reads."""
    server.domains[DOMAIN].ds = [DS]

    def official() -> tuple[Any, ...]:
        with cloudflare.Cloudflare(
            api_token=server.token, base_url=server.url, max_retries=0, _strict_response_validation=True
        ) as client:
            client._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            (zone,) = client.zones.list(name=DOMAIN)
            registration = client.registrar.registrations.get(DOMAIN, account_id=ACCOUNT)
            return zone, registration, client.dns.dnssec.get(zone_id=zone.id), client.user.tokens.verify()

    zone, registration, dnssec, token = await asyncio.to_thread(official)
    assert (zone.name, tuple(zone.name_servers), zone.account.id) == (DOMAIN, OLD, ACCOUNT)
    assert (registration.domain_name, registration.status) == (DOMAIN, "active")
    assert (dnssec.status, dnssec.key_tag, dnssec.digest_type) == ("active", 40237, "2")
    assert token.status == "active"
