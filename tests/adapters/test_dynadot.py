"""What is particular to Dynadot."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from adapters.base import (
    AccountNotEligible,
    AddressNotAllowed,
    Applied,
    DomainNotInAccount,
    Ds,
    InvalidCredential,
    Locked,
    NotSupported,
    OutcomeUnclear,
    RateLimited,
    RegistrarError,
    Rejected,
    Unavailable,
    UnknownHost,
)
from adapters.dynadot import words
from adapters.dynadot.api3 import Api3 as OurApi3
from adapters.dynadot.signature import Key
from tests.registrars import play
from tests.registrars.dynadot import Api3, Dynadot, Rest
from tests.registrars.server import OLD, Answer, lose_reply, reply

DOMAIN = "example.com"
NEW = ("ns1.platform.test", "ns2.platform.test")
both = pytest.mark.parametrize("server", ["dynadot-api3", "dynadot-rest"], indirect=True)
api3 = pytest.mark.parametrize("server", ["dynadot-api3"], indirect=True)
rest = pytest.mark.parametrize("server", ["dynadot-rest"], indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Dynadot]:
    one = play(request.param)
    yield one
    one.stop()
    assert one.wrong == []


@pytest.fixture
async def registrar(server: Dynadot) -> AsyncIterator[Any]:
    http = server.http()
    yield server.adapter(http)
    await http.close()


# --- sentences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("invalid key", InvalidCredential), ("Login failed.", InvalidCredential), ("Your account is locked", InvalidCredential),
        ("The X-Signature not entered", InvalidCredential), ("this is only available for specific accounts", AccountNotEligible),
        ("Your IP 192.0.2.1 is not in the list", AddressNotAllowed), ("could not find domain in your account", DomainNotInAccount),
        ("could not find example.com in your account", DomainNotInAccount),
        ("Can not find the [domain_name] in the account.", DomainNotInAccount), ("Unsupported domain type", NotSupported),
        ("the .xx TLD isn't supported via the API", NotSupported), ("this domain doesn't support DNSSEC", NotSupported),
        ("'ns1.example.com' needs to be registered with an ip address before it can be used.", UnknownHost),
        ("name server ns1.x.test does not exist", UnknownHost), ("The domain is UDRP locked", Locked), ("example.com was expired", Locked),
        ("system_busy, try later", RateLimited), ("there is another request in process", RateLimited),
        # Words of the table that occur in customers' names, and sentences that nobody has documented.
        ("monkey.com is odd", Rejected), ("author.com and corporate.com", Rejected), ("could not do it: invalid-key.com", Rejected),
        ("login-failed.com is odd", Rejected), ("", Rejected), (None, Rejected), (7, Rejected),
    ],
)  # fmt: skip
def test_sentence(sentence: object, kind: type[RegistrarError]) -> None:
    """Errors are told apart by whole sentences, never by words that a customer's domain may contain."""
    failure = words.failure(sentence, Rejected)
    assert type(failure) is kind
    assert "example" not in failure.detail


@api3
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"Response": {"ResponseCode": "-1", "Error": "invalid key"}}, InvalidCredential),
        ({"DomainInfoResponse": {"ResponseCode": "-1", "Status": "error", "Error": "could not find domain in your account"}}, DomainNotInAccount),
        ({"DomainInfoResponse": {"ResponseCode": "-1", "Status": "error", "Error": "never heard of"}}, Unavailable),
        ({"DomainInfoResponse": {"ResponseCode": "-1", "Status": "error"}}, Unavailable),
        ({"DomainInfoResponse": {"Status": "success", "DomainInfo": {}}}, Unavailable),
        ({"DomainInfoResponse": {"ResponseCode": 0, "Status": "success"}}, Unavailable),
        ({"DomainInfoResponse": {"ResponseCode": 0, "Status": "success", "DomainInfo": {"NameServerSettings": {}}}}, Unavailable),
        ({"SetNsResponse": {"ResponseCode": 0, "Status": "success"}}, Unavailable),
        ({"Response": {"ResponseCode": 0}}, Unavailable),
    ],
)  # fmt: skip
async def test_reply_that_is_no_success(server: Api3, registrar: Any, body: object, kind: type[RegistrarError]) -> None:
    """A success is the expected root, with code 0, and what was asked for; anything else is none."""
    server.fault(reply(Answer(200, json.dumps(body).encode())))
    with pytest.raises(RegistrarError) as caught:
        await registrar.validate(server.token, DOMAIN, within=0.45)
    assert type(caught.value) is kind


@rest
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("code", "sentence", "kind"),
    [
        (401, "The API key has expired", InvalidCredential), (401, "only available for specific accounts", AccountNotEligible),
        (400, "The X-Signature not entered", InvalidCredential), (404, "Can not find the [domain_name] in the account.", DomainNotInAccount),
        (404, "No such page", Unavailable), (409, "The domain is UDRP locked", Locked), (409, "whatever", Locked),
        (400, "The domain was expired", Locked), (403, "whatever", Rejected), (429, "after 60 seconds", RateLimited),
        (500, "", Unavailable), (503, "", Unavailable), (400, "whatever", Unavailable),
    ],
)  # fmt: skip
async def test_code(
    server: Rest, registrar: Any, inside: bool, code: int, sentence: str, kind: type[RegistrarError]
) -> None:
    """An error counts whether the status or only the body tells it."""
    body = {"code": code, "message": "marked", "error": {"description": sentence}}
    server.fault(reply(Answer(200 if inside else code, json.dumps(body).encode())))
    with pytest.raises(RegistrarError) as caught:
        await registrar.validate(server.token, DOMAIN, within=0.45)
    assert type(caught.value) is kind
    assert "marked" not in str(caught.value)


# --- domains ------------------------------------------------------------------------------------------


@api3
@pytest.mark.parametrize(
    ("facts", "can_set"),
    [
        ({"Locked": "yes"}, True), ({"Hold": "yes"}, False), ({"Disabled": "yes"}, False), ({"UdrpLocked": "yes"}, False),
        ({"Expiration": "1000000000000"}, False), ({"Expiration": "odd"}, True),
    ],
)  # fmt: skip
async def test_state(server: Api3, registrar: Any, facts: dict[str, str], can_set: bool) -> None:
    """A hold, a dispute, expiry forbid changes; the transfer lock does not."""
    server.domains[DOMAIN].facts = facts
    found = await registrar.validate(server.token, DOMAIN)
    assert found.can_set_nameservers is can_set
    if not can_set:
        with pytest.raises(Locked):
            await registrar.set_nameservers(server.token, DOMAIN, NEW)
        assert not server.writes


@api3
async def test_registrant_that_is_not_verified(server: Api3, registrar: Any) -> None:
    """An unverified registrant is worth a warning, since the registry may suspend the domain."""
    server.domains[DOMAIN].facts = {"RegistrantUnverified": "yes"}
    found = await registrar.validate(server.token, DOMAIN)
    assert found.can_set_nameservers is True
    assert found.warnings


@api3
@pytest.mark.parametrize("kind", ["Dynadot DNS", "Dynadot Parking", "Forwarding"])
async def test_domain_on_dynadots_own_dns(server: Api3, registrar: Any, kind: str) -> None:
    """A domain on Dynadot's own DNS has no list of nameservers, and can be given one."""
    server.domains[DOMAIN].facts = {"Type": kind}
    assert await registrar.get_nameservers(server.token, DOMAIN) == ()


@api3
async def test_hosts_are_made_known_first(server: Api3, registrar: Any) -> None:
    """Each nameserver is made known to the account before the set; one that is known already is no failure."""
    server.hosts = {NEW[0]}
    assert await registrar.set_nameservers(server.token, DOMAIN, NEW) == Applied(NEW)
    assert [seen.query["command"] for seen in server.writes] == ["add_ns", "add_ns", "set_ns"]


@api3
async def test_host_inside_the_domain(server: Api3, registrar: Any) -> None:
    """A nameserver inside the domain that has no address at Dynadot is told as unknown."""
    with pytest.raises(UnknownHost):
        await registrar.set_nameservers(server.token, DOMAIN, (f"ns1.{DOMAIN}", f"ns2.{DOMAIN}"))


@api3
async def test_key_stands_in_no_address(server: Api3) -> None:
    """The key goes into the query, and into nothing that a library prints."""
    http = server.http()
    request = OurApi3(http, server.url, Key("marked", None), 0)._request("domain_info", {"domain": DOMAIN})
    assert "marked" not in repr(request)
    assert "marked" not in request.url
    assert request.secret_query["key"] == "marked"


# --- one at a time ------------------------------------------------------------------------------------


@both
async def test_one_request_at_a_time(server: Dynadot, registrar: Any) -> None:
    """Requests of one account wait for each other."""
    calls = [registrar.get_nameservers(server.token, DOMAIN) for _ in range(8)]
    calls += [registrar.set_nameservers(server.token, DOMAIN, NEW), registrar.get_ds(server.token, DOMAIN)]
    await asyncio.gather(*calls)
    assert server.overlaps == 0


@api3
async def test_accounts_do_not_wait_for_each_other(server: Api3, registrar: Any) -> None:
    """While one account waits for Dynadot, another one is served; who cannot wait any longer is told so."""
    release = threading.Event()

    def hold(_: Any, __: Any, seen: Any) -> bool:
        if seen.query["key"] == server.token:
            release.wait(10)
        return False

    server.fault(hold)
    first = asyncio.ensure_future(registrar.get_nameservers(server.token, DOMAIN))
    try:
        with pytest.raises(InvalidCredential):
            await registrar.validate("anotherkey", DOMAIN)
        with pytest.raises(Unavailable) as caught:
            await registrar.validate(server.token, DOMAIN, within=0.3)
        assert not caught.value.sent
    finally:
        release.set()
    assert await first == OLD


# --- signature ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "request_id", "body", "signature"),
    [
        ("secret", "8e5bc897-75c8-4a9c-9362-5671405c7761", b'{"sub_list":[]}', "1v6pCnviEO/dqOIRV2wSc+YRJHt92L+P2xqkyuTVQyk="),
        ("other-secret", "8e5bc897-75c8-4a9c-9362-5671405c7761", b'{"sub_list":[]}', "ro+dZ59kmfLkWb1CWDsp/rVUeXSScDDr01J7Yg8Bj/E="),
        ("secret", "", b"", "bmpyYo9wpBlZBrcjmZOGrHdp1nQcsesmr8fxibvpefA="),
    ],
)  # fmt: skip
def test_signature(secret: str, request_id: str, body: bytes, signature: str) -> None:
    """Requests are signed as others sign them for the live API."""
    key = Key("key", secret)
    assert key.headers("/restful/v2/domains/example.com/records", request_id, body)["x-signature"] == signature
    assert secret not in repr(key)


@rest
async def test_secret_that_is_wrong(server: Rest, registrar: Any) -> None:
    """A wrong secret is a refused credential."""
    with pytest.raises(InvalidCredential):
        await registrar.validate(server.token.split(":")[0] + ":wrong", DOMAIN)


# --- DS -----------------------------------------------------------------------------------------------

_RECORD = {"key_tag": 1, "algorithm": "ED25519 (15)", "digest_type": "SHA-256 (2)", "digest": "AB CD"}
_DS = Ds(1, 15, 2, "abcd")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"dnssec_info_list": [_RECORD]}, (_DS,)), ({"dnssecInfoList": [_RECORD]}, (_DS,)), ({"dnssec_info_list": []}, ()),
        ({"dnssec_info_list": None}, ()), ({"GetDnssecContent": {"DnssecRecord": _RECORD}}, (_DS,)),
        ({"GetDnssecContent": {"ds_records": [{"KeyTag": "1", "Algorithm": "15", "DigestType": "2", "Digest": "abcd"}]}}, (_DS,)),
        ({"GetDnssecContent": {}}, ()),
    ],
)  # fmt: skip
def test_ds_in_several_spellings(content: object, expected: tuple[Ds, ...]) -> None:
    """DS are found under the names that have been seen, with numbers plain or behind their names."""
    assert words.ds_of(content) == expected


@pytest.mark.parametrize(
    "content",
    [
        {"other": 1}, {"data": []}, [1], "x", {"dnssec_info_list": "x"}, {"dnssec_info_list": [{"key_tag": 1}]},
        {"dnssec_info_list": [{**_RECORD, "digest": "xyz"}]}, {"dnssec_info_list": [{**_RECORD, "algorithm": "ED25519"}]},
        {"GetDnssecContent": {"Unknown": 1}},
    ],
)  # fmt: skip
def test_ds_that_are_not_told(content: object) -> None:
    """A reply without a list of DS does not mean that there are none."""
    with pytest.raises(Unavailable):
        words.ds_of(content)


@both
async def test_ds_that_replaces_another(server: Dynadot, registrar: Any) -> None:
    """Where a DS has to go all are removed first; where one is missing it is added to the others."""
    one, two, three = server.some_ds
    await registrar.set_ds(server.token, DOMAIN, [one])
    before = len(server.writes)
    await registrar.set_ds(server.token, DOMAIN, [one, two])
    assert len(server.writes) == before + 1
    await registrar.set_ds(server.token, DOMAIN, [two, three])
    assert len(server.writes) == before + 4


@both
async def test_ds_whose_reply_is_lost(server: Dynadot, registrar: Any) -> None:
    """A DS whose reply is lost is read back, and not sent again; one that is not there is told as unclear."""
    server.fault(lose_reply, "write", times=1)
    assert await registrar.set_ds(server.token, DOMAIN, server.some_ds[:1]) is None
    assert len(server.writes) == 1
    server.faults.clear()
    server.fault(reply(Answer(500)), "write")
    with pytest.raises(OutcomeUnclear):
        await registrar.set_ds(server.token, DOMAIN, server.some_ds[1:2])
    assert len(server.writes) == 2
