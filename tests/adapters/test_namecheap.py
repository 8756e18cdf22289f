"""What is particular to Namecheap."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest

from adapters.base import (
    AccountNotEligible,
    AddressNotAllowed,
    Applied,
    DomainNotInAccount,
    InvalidCredential,
    Locked,
    MissingPermission,
    NotSupported,
    OutcomeUnclear,
    RateLimited,
    Registrar,
    RegistrarError,
    Rejected,
    Unavailable,
)
from adapters.conformance.played import Answer, Seen, Server, reply
from adapters.namecheap import Namecheap as Adapter
from adapters.namecheap.api import Key
from tests.adapters.conftest import playing
from tests.patience import patient
from tests.registrars.namecheap import Namecheap

DOMAIN = "example.com"
NEW = ("ns1.platform.test", "ns2.platform.test")
ERRORS = [
    ("1010101", InvalidCredential), ("1010102", InvalidCredential), ("1011102", InvalidCredential),
    ("1011150", AddressNotAllowed), ("1017150", AddressNotAllowed), ("1017105", AddressNotAllowed),
    ("1017101", InvalidCredential), ("1017103", InvalidCredential), ("1019103", InvalidCredential),
    ("1016103", InvalidCredential), ("1030408", InvalidCredential), ("1017410", AccountNotEligible),
    ("1017411", RateLimited), ("500000", RateLimited), ("1050900", Unavailable), ("2019166", DomainNotInAccount),
    ("2016166", DomainNotInAccount), ("2030166", DomainNotInAccount), ("3016166", DomainNotInAccount),
    ("4011103", MissingPermission), ("2030280", NotSupported), ("2050900", Rejected), ("4022288", Unavailable),
    ("3050900", Unavailable), ("5019169", Unavailable), ("5050169", Unavailable), ("5050900", Unavailable),
    ("1010104", Unavailable), ("1010105", Unavailable), ("1011105", Unavailable), ("3031510", Unavailable),
    ("9999999", Unavailable), ("not a number", Unavailable),
]  # fmt: skip


@pytest.fixture
def server() -> Iterator[Server]:
    yield from playing("namecheap")


@pytest.mark.parametrize(("number", "kind"), ERRORS)
async def test_error_number(server: Namecheap, registrar: Registrar, number: str, kind: type[RegistrarError]) -> None:
    """Each documented error number is told as its kind, without Namecheap's words."""
    server.fault(reply(server.error(number, "marked words")))
    with pytest.raises(kind) as caught:
        await registrar.validate(server.token, DOMAIN, within=patient(0.45))
    assert type(caught.value) is kind
    assert "marked" not in str(caught.value)


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        (("2019166", "1011102"), InvalidCredential), (("2050900", "500000"), RateLimited),
        (("5050900", "2016166"), DomainNotInAccount), ((), Unavailable),
    ],
)  # fmt: skip
async def test_several_errors(
    server: Namecheap, registrar: Registrar, numbers: tuple[str, ...], kind: type[RegistrarError]
) -> None:
    """Of several errors in one reply the most severe counts."""
    server.fault(reply(server.error(*(word for number in numbers for word in (number, "text")))))
    with pytest.raises(kind):
        await registrar.validate(server.token, DOMAIN, within=patient(0.45))


@pytest.mark.parametrize(
    ("facts", "can_set", "obstacle"),
    [
        ({"Status": "Locked"}, True, None),
        ({"Status": "Expired"}, False, Locked),
        ({"IsOwner": "false", "rights": ' All="true"/>'}, True, None),
        ({"IsOwner": "false", "rights": '><Rights Type="nameserver">OK</Rights></Modificationrights>'}, True, None),
        ({"IsOwner": "false", "rights": '><Rights Type="nameserver">NO</Rights><Rights Type="hosts">OK</Rights></Modificationrights>'}, False, MissingPermission),
        ({"IsOwner": "false", "rights": '><Rights Type="hosts">OK</Rights></Modificationrights>'}, False, MissingPermission),
    ],
)  # fmt: skip
async def test_rights(
    server: Namecheap, registrar: Registrar, facts: dict[str, str], can_set: bool, obstacle: type[RegistrarError] | None
) -> None:
    """Who may set the nameservers: the owner, and whom he lets; nobody once the domain has expired."""
    server.domains[DOMAIN].facts = facts
    found = await registrar.validate(server.token, DOMAIN)
    assert found.can_set_nameservers is can_set
    assert (type(found.obstacle) if found.obstacle else None) is obstacle
    if obstacle is not None:
        with pytest.raises(obstacle):
            await registrar.set_nameservers(server.token, DOMAIN, NEW)
        assert not server.writes


async def test_domain_that_is_only_on_freedns(server: Namecheap, registrar: Registrar) -> None:
    """A domain on Namecheap's FreeDNS that is registered elsewhere is not in the account."""
    server.domains[DOMAIN].facts = {"IsOwner": "false", "ProviderType": "FreeDNS", "rights": "/>"}
    with pytest.raises(DomainNotInAccount):
        await registrar.validate(server.token, DOMAIN)


async def test_change_that_is_not_made(server: Namecheap, registrar: Registrar) -> None:
    """A good reply that says that nothing was updated is no success."""
    server.updated = "false"
    with pytest.raises(Rejected):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


async def test_refusal_to_change(server: Namecheap, registrar: Registrar) -> None:
    """The number that means an unknown domain when reading means a missing right when changing."""
    server.fault(reply(server.error("2030166", "Edit permission not supported")), "write")
    with pytest.raises(MissingPermission):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


@pytest.mark.parametrize(
    "body", ["", "<CommandResponse/>", "<CommandResponse><DomainDNSSetCustomResult/></CommandResponse>"]
)
async def test_success_that_says_nothing(server: Namecheap, registrar: Registrar, body: str) -> None:
    """A change whose reply lacks the result has an unclear outcome."""
    text = f'<ApiResponse Status="OK" xmlns="http://api.namecheap.com/xml.response"><Errors/>{body}</ApiResponse>'
    server.fault(reply(Answer(200, text.encode())), "write")
    with pytest.raises(OutcomeUnclear):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


async def test_reply_with_entities(server: Namecheap, registrar: Registrar) -> None:
    """A reply that declares entities is refused, however good it is otherwise."""

    def declare(played: Namecheap, handler: Any, seen: Seen) -> bool:
        declared = b'<!DOCTYPE ApiResponse [<!ENTITY host "ns1.evil.test">]><ApiResponse'
        body = played.answer(seen).body.replace(b"<ApiResponse", declared).replace(b"ns1.old.test", b"&host;")
        return reply(Answer(200, body))(played, handler, seen)

    server.fault(declare)
    with pytest.raises(Unavailable):
        await registrar.validate(server.token, DOMAIN, within=patient(0.45))


async def test_reply_in_an_unknown_encoding(server: Namecheap, registrar: Registrar) -> None:
    """A reply in an encoding that nobody knows is one that cannot be read."""
    body = b'<?xml version="1.0" encoding="utf-f-8"?><ApiResponse/>'
    server.fault(reply(Answer(200, body)))
    with pytest.raises(Unavailable):
        await registrar.validate(server.token, DOMAIN, within=patient(0.45))


@pytest.mark.parametrize(
    ("domain", "sld", "tld"),
    [("example.com", "example", "com"), ("example.co.uk", "example", "co.uk"), ("foo.uk.com", "foo", "uk.com")],
)
async def test_split_at_the_public_suffix(
    server: Namecheap, registrar: Registrar, domain: str, sld: str, tld: str
) -> None:
    """The domain is split at its public suffix, as Namecheap wants it."""
    server.domains[domain] = server.domains.pop(DOMAIN)
    assert await registrar.set_nameservers(server.token, domain, NEW) == Applied(NEW)
    (written,) = server.writes
    form = dict(parse_qsl(written.body.decode()))
    assert (form["SLD"], form["TLD"]) == (sld, tld)


@pytest.mark.parametrize(
    ("text", "user_name", "client_ip"),
    [
        ("u:k", "u", None), ("u:k:n", "n", None), ("u:k:192.0.2.1", "u", "192.0.2.1"), ("u:k:n:192.0.2.1", "n", "192.0.2.1"),
        (" u:k \n", "u", None),
    ],
)  # fmt: skip
def test_credential_with_optional_parts(text: str, user_name: str, client_ip: str | None) -> None:
    """User name and client address may be left out, each by itself."""
    key = Key.parse(text)
    assert (key.api_user, key.api_key, key.user_name, key.client_ip) == ("u", "k", user_name, client_ip)
    assert "'k'" not in repr(key)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Invalid request IP: 198.51.100.7", "198.51.100.7"), ("Invalid request IP", None),
        ("Invalid request IP: 198.51.100.777", None), ("Invalid request IP: 198.51.100.7.9", None),
    ],
)  # fmt: skip
async def test_address_to_put_on_the_list(
    server: Namecheap, registrar: Registrar, text: str, address: str | None
) -> None:
    """The address that Namecheap saw us come from is told: it is the one that has to be on the list."""
    server.fault(reply(server.error("1011150", text)))
    with pytest.raises(AddressNotAllowed) as caught:
        await registrar.validate(server.token, DOMAIN)
    assert ("add that address to the key's list" in caught.value.detail) == (address is not None)
    assert (address or "our IPv4 address") in caught.value.detail
    assert "777" not in caught.value.detail


async def test_words_of_a_refusal(server: Namecheap, registrar: Registrar) -> None:
    """Of a refusal that nobody has documented the customer reads Namecheap's words, and never those with a credential."""
    server.fault(reply(server.error("3031510", "Nameserver ns1.platform.test is not registered")), "write")
    with pytest.raises(Rejected, match=r"Nameserver ns1\.platform\.test is not registered"):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)
    server.faults.clear()
    server.fault(reply(server.error("3031510", f"odd key {server.token.split(':')[1].upper()}")), "write")
    with pytest.raises(Rejected, match="does not document"):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


async def test_address_that_is_not_on_the_list(server: Namecheap, registrar: Registrar) -> None:
    """Our address missing on the account's list is told apart from a wrong key; the setting is used if the token has none."""
    token = "customer:" + server.token.split(":")[1]
    with pytest.raises(AddressNotAllowed):
        await registrar.validate(token, DOMAIN)
    http = server.http()
    told = Adapter(http, server.url, client_ip="203.0.113.9")
    assert (await told.validate(token, DOMAIN)).can_set_nameservers is True
    await http.close()
