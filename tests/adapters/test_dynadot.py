"""What is particular to Dynadot."""

import asyncio
import json
import threading
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
from adapters.conformance.played import OLD, Answer, Seen, lose_reply, reply
from adapters.dynadot import words
from adapters.dynadot.api3 import Api3 as OurApi3
from adapters.dynadot.signature import Key
from adapters.dynadot.state import hosts_of
from tests.patience import patient
from tests.registrars.dynadot import Api3, Dynadot, Rest

DOMAIN = "example.com"
NEW = ("ns1.platform.test", "ns2.platform.test")
both = pytest.mark.parametrize("server", ["dynadot-api3", "dynadot-rest"], indirect=True)
api3 = pytest.mark.parametrize("server", ["dynadot-api3"], indirect=True)
rest = pytest.mark.parametrize("server", ["dynadot-rest"], indirect=True)


# --- sentences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("invalid key", InvalidCredential), ("Login failed.", InvalidCredential), ("Your account is locked", InvalidCredential),
        ("The provided API key is invalid, expired, or missing. Please verify your key is correct and active.", InvalidCredential),
        ("The X-Signature not entered", InvalidCredential), ("X-Signature header not entered", InvalidCredential),
        ("This command requires X-Signature", InvalidCredential), ("The X-Signature does not match", InvalidCredential),
        ("This API is only available for specific accounts. please contact support for more information.", AccountNotEligible),
        ("The request is not allowed from the current IP address. Please contact our support.", AddressNotAllowed),
        ("Your IP 192.0.2.1 is not in the list", AddressNotAllowed), ("could not find domain in your account", DomainNotInAccount),
        ("could not find example.com in your account", DomainNotInAccount),
        ("Can not find the [domain_name] in the account.", DomainNotInAccount),
        ("Can not find the domain in the account.", DomainNotInAccount), ("Unsupported domain type", NotSupported),
        ("Unsupported domain type: example.com", NotSupported), ("Unsupported domain type: [domain_name]", NotSupported),
        ("This TLD isn't supported via the API.", NotSupported), ("The domain doesn't support DNSSEC.", NotSupported),
        ("Subdomains are not allowed: www.example.com", Rejected),
        ("'ns1.example.com' needs to be registered with an ip address before it can be used.", UnknownHost),
        ("name server ns1.x.test does not exist", UnknownHost), ("The [domain_name] was UDRP locked.", Locked),
        ("The example.com was expired.", Locked), ("example.com is disabled", Locked),
        ("system_busy", RateLimited), ("system busy, try later", RateLimited), ("there is another request in process", RateLimited),
        ("There is another command processing for example.com", RateLimited),
        ("Too many requests. Rate limit exceeded. Please try again after 60 seconds.", RateLimited),
        ("You have reached the maximum allowed requests within the concurrent limit of your account.", RateLimited),
    ],
)  # fmt: skip
def test_sentence(sentence: str, kind: type[RegistrarError]) -> None:
    """Each sentence that is documented or has been seen is told as its kind, without Dynadot's words."""
    failure = words.known(sentence)
    assert type(failure) is kind
    assert "example" not in failure.detail


@pytest.mark.parametrize(
    "sentence",
    ["monkey.com is odd", "author.com and corporate.com", "could not do it: invalid-key.com", "login-failed.com is odd", "success",
     "the ip address of the host is odd", "invalid key word", "", None, 7],
)  # fmt: skip
def test_sentence_that_nobody_has_documented(sentence: object) -> None:
    """Errors are told apart by whole sentences, never by words that a customer's domain may contain."""
    assert words.known(sentence) is None


@api3
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"Response": {"ResponseCode": "-1", "Error": "invalid key"}}, InvalidCredential),
        ({"DomainInfoResponse": {"ResponseCode": "-1", "Status": "error", "Error": "could not find domain in your account"}}, DomainNotInAccount),
        ({"DomainInfoResponse": {"ResponseCode": "-1", "Status": "error", "Error": "never heard of"}}, Unavailable),
        ({"DomainInfoResponse": {"ResponseCode": "-1", "Status": "error"}}, Unavailable),
        ({"DomainInfoResponse": {"ResponseCode": "5", "Status": "system_busy"}}, RateLimited),
        ({"DomainInfoResponse": {"ResponseCode": 0, "Status": "success", "DomainInfo": {"NameServerSettings": {"Type": "Name Servers"}}}}, Unavailable),
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
        await registrar.validate(server.token, DOMAIN, within=patient(0.45))
    assert type(caught.value) is kind


@rest
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("code", "sentence", "kind"),
    [
        (401, "whatever", InvalidCredential), (0, "whatever", Unavailable), (300, "whatever", Unavailable),
        (403, "The request is not allowed from the current IP address. Please contact our support.", AddressNotAllowed),
        (401, "only available for specific accounts", AccountNotEligible),
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
    server.fault(reply(Answer(200 if inside or code < 400 else code, json.dumps(body).encode())))
    with pytest.raises(RegistrarError) as caught:
        await registrar.validate(server.token, DOMAIN, within=patient(0.45))
    assert type(caught.value) is kind
    assert "marked" not in str(caught.value)


@both
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"SetNsResponse": {"ResponseCode": "5", "Status": "system_busy"}, "code": 429}, RateLimited),
        ({"SetNsResponse": {"ResponseCode": "-1", "Status": "error", "Error": "never heard of"}, "code": 400}, Rejected),
        ({"SetNsResponse": {"Status": "success"}, "code": 0}, OutcomeUnclear), ({"Response": {"ResponseCode": 0, "Status": "success"}, "code": "odd"}, OutcomeUnclear),
        ({"SetNsResponse": {"ResponseCode": 0, "Error": "never heard of"}, "code": 304}, OutcomeUnclear),
    ],
)  # fmt: skip
async def test_change_that_is_not_made(
    server: Dynadot, registrar: Any, body: dict[str, Any], kind: type[RegistrarError]
) -> None:
    """What Dynadot refuses in so many words has not been done; anything else that is no success is unclear."""
    both = body if isinstance(server, Rest) else {name: value for name, value in body.items() if name != "code"}
    answer = reply(Answer(200, json.dumps(both).encode()))
    server.fault(lambda s, h, seen: server.is_change(seen) and answer(s, h, seen), "write")
    with pytest.raises(RegistrarError) as caught:
        await registrar.set_nameservers(server.token, DOMAIN, NEW, within=2)
    assert type(caught.value) is kind


# --- domains ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "facts", "can_set"),
    [
        ("dynadot-api3", {"Locked": "yes"}, True), ("dynadot-api3", {"Hold": "yes"}, False), ("dynadot-api3", {"Disabled": "Yes"}, False),
        ("dynadot-api3", {"UdrpLocked": "yes"}, False), ("dynadot-api3", {"Expiration": "1000000000000"}, False),
        ("dynadot-api3", {"Expiration": "odd"}, True), ("dynadot-rest", {"locked": "Yes"}, True), ("dynadot-rest", {"hold": "Yes"}, False),
        ("dynadot-rest", {"disabled": "yes"}, False), ("dynadot-rest", {"udrp_locked": "yes"}, False),
        ("dynadot-rest", {"expiration_date": 1000000000000}, False),
    ],
    indirect=["server"],
)  # fmt: skip
async def test_state(server: Dynadot, registrar: Any, facts: dict[str, str], can_set: bool) -> None:
    """A hold, a dispute, expiry forbid changes; the transfer lock does not."""
    server.domains[DOMAIN].facts = facts
    found = await registrar.validate(server.token, DOMAIN)
    assert found.can_set_nameservers is can_set
    if not can_set:
        assert isinstance(found.obstacle, Locked)
        with pytest.raises(Locked):
            await registrar.set_nameservers(server.token, DOMAIN, NEW)
        assert not server.writes


@both
async def test_registrant_that_is_not_verified(server: Dynadot, registrar: Any) -> None:
    """An unverified registrant is worth a warning, since the registry may suspend the domain."""
    server.domains[DOMAIN].facts = {"RegistrantUnverified": "yes", "registrant_unverified": "Yes"}
    found = await registrar.validate(server.token, DOMAIN)
    assert found.can_set_nameservers is True
    assert found.warnings


@both
@pytest.mark.parametrize("kind", ["Dynadot DNS", "Dynadot Parking", "Forwarding", "DNS", "REGISTRAR_FORWARDING"])
async def test_domain_on_dynadots_own_dns(server: Dynadot, registrar: Any, kind: str) -> None:
    """A domain on Dynadot's own DNS has no list of nameservers, and can be given one."""
    server.instant = True
    server.domains[DOMAIN].facts = {"Type": kind, "glue_type": kind}
    assert (await registrar.validate(server.token, DOMAIN)).nameservers == ()
    server.fault(lambda s, *_: s.domains[DOMAIN].facts.clear(), "write")
    assert await registrar.set_nameservers(server.token, DOMAIN, NEW) == Applied(NEW)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"Type": "Name Servers", "NameServers": [{"ServerName": "B.test."}, {"ServerName": ""}, {"ServerName": "a.test"}]}, ("a.test", "b.test")),
        ({"glue_type": "NAME_SERVERS", "nameserver_list": ["b.test", "a.test"]}, ("a.test", "b.test")),
        ({"glue_type": "name_servers", "nameserver_list": [{"server_name": "a.test"}]}, ("a.test",)),
        ({"nameserver_list": []}, ()), ({"glue_type": "DNS", "nameserver_list": None}, ()),
    ],
)  # fmt: skip
def test_nameservers_in_several_spellings(settings: object, expected: tuple[str, ...]) -> None:
    """Nameservers are found as both APIs write them."""
    assert hosts_of(settings) == expected


@pytest.mark.parametrize(
    "settings",
    [None, [], {}, {"glue_type": ""}, {"glue_type": "NAME_SERVERS"}, {"Type": "Name Servers", "NameServers": None}, {"nameserver_list": "a.test"},
     {"nameserver_list": [1]}, {"nameserver_list": [{"host": "a.test"}]}, {"nameserver_list": [{"server_name": None}]}],
)  # fmt: skip
def test_nameservers_that_are_not_told(settings: object) -> None:
    """Settings without a list that has to be there do not mean that there are no nameservers."""
    with pytest.raises(Unavailable):
        hosts_of(settings)


@rest
async def test_nameservers_that_the_domains_page_lacks(server: Rest, registrar: Any) -> None:
    """Where the domain's page does not have the nameservers they are asked for."""
    server.domains[DOMAIN].facts = {"glue_info": None}
    assert await registrar.get_nameservers(server.token, DOMAIN) == OLD


@api3
async def test_hosts_are_made_known_first(server: Api3, registrar: Any) -> None:
    """Each nameserver is made known to the account before the set; one that is known already is no failure."""
    server.hosts = {NEW[0]}
    assert await registrar.set_nameservers(server.token, DOMAIN, NEW) == Applied(NEW)
    assert [seen.query["command"] for seen in server.writes] == ["add_ns", "add_ns", "set_ns"]


@api3
async def test_host_that_may_not_have_been_made_known(server: Api3, registrar: Any) -> None:
    """A lost reply before the change itself is no unclear outcome: the nameservers were not touched."""
    server.fault(reply(Answer(500)), "write")
    with pytest.raises(Unavailable):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert [seen.query["command"] for seen in server.writes] == ["add_ns"]


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
    reached, release = threading.Event(), threading.Event()

    def hold(_: Any, __: Any, seen: Any) -> bool:
        if seen.query["key"] == server.token:
            reached.set()
            release.wait(10)
        return False

    server.fault(hold)
    first = asyncio.ensure_future(registrar.get_nameservers(server.token, DOMAIN))
    try:
        assert await asyncio.to_thread(reached.wait, 5)
        with pytest.raises(InvalidCredential):
            await registrar.validate("anotherkey", DOMAIN)
        before = len(server.seen)
        with pytest.raises(Unavailable) as caught:
            await registrar.validate(server.token, DOMAIN, within=patient(0.6))
        assert not caught.value.sent
        assert len(server.seen) == before
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
        ({"GetDnssecContent": {}}, ()), ({"dnssecInfoList": [{**_RECORD, "key_tag": "1", "algorithm": 15}]}, (_DS,)),
    ],
)  # fmt: skip
def test_ds_in_several_spellings(content: object, expected: tuple[Ds, ...]) -> None:
    """DS are found under the names that have been seen, with numbers plain or behind their names."""
    assert words.ds_of(content) == expected


@pytest.mark.parametrize(
    "content",
    [
        None, {}, {"other": 1}, {"data": []}, [1], "x", {"dnssec_info_list": "x"}, {"dnssec_info_list": [{"key_tag": 1}]},
        {"dnssec_info_list": [{**_RECORD, "digest": "xyz"}]}, {"dnssec_info_list": [{**_RECORD, "digest": ""}]},
        {"dnssec_info_list": [{**_RECORD, "algorithm": "15)"}]}, {"dnssecInfo": None, "x": 1, "dnssec_info_list": 7}, {"dnssec_info_list": [{**_RECORD, "algorithm": "ED25519"}]},
        {"GetDnssecContent": {"Unknown": 1}},
    ],
)  # fmt: skip
def test_ds_that_are_not_told(content: object) -> None:
    """A reply without a list of DS does not mean that there are none."""
    with pytest.raises(Unavailable):
        words.ds_of(content)


@both
async def test_ds_that_replaces_another(server: Dynadot, registrar: Any) -> None:
    """What is missing is added first; if a DS has to go, all are removed then, and the wanted ones set."""
    one, two, three = server.some_ds
    await registrar.set_ds(server.token, DOMAIN, [one])
    before = len(server.writes)
    await registrar.set_ds(server.token, DOMAIN, [one, two])
    assert len(server.writes) == before + 1
    await registrar.set_ds(server.token, DOMAIN, [two, three])
    assert [_what(seen) for seen in server.writes[before + 1 :]] == ["set", "clear", "set", "set"]


@both
async def test_ds_that_is_refused(server: Dynadot, registrar: Any) -> None:
    """A DS that Dynadot does not take leaves those in place that were there."""
    one, two, _ = server.some_ds
    await registrar.set_ds(server.token, DOMAIN, [one])
    server.fault(reply(_refusal(server)), "write")
    with pytest.raises(Rejected):
        await registrar.set_ds(server.token, DOMAIN, [two])
    server.faults.clear()
    assert [ds.rdata for ds in await registrar.get_ds(server.token, DOMAIN)] == [one.rdata]


@both
@pytest.mark.parametrize("taken", [1, 2, 3])
async def test_ds_of_which_a_part_is_set(server: Dynadot, registrar: Any, taken: int) -> None:
    """A change that stops in the middle is not told as one that was not made; no wrong DS is left alone."""
    one, two, three = server.some_ds
    await registrar.set_ds(server.token, DOMAIN, [one])
    before, refusal = len(server.writes), reply(_refusal(server))
    server.fault(lambda s, h, seen: len(s.writes) > before + taken and refusal(s, h, seen), "write")
    with pytest.raises(OutcomeUnclear):
        await registrar.set_ds(server.token, DOMAIN, [two, three])
    server.faults.clear()
    left = {ds.rdata for ds in await registrar.get_ds(server.token, DOMAIN)}
    assert not left or left & {two.rdata, three.rdata}
    assert await registrar.set_ds(server.token, DOMAIN, [two, three]) is None


@both
async def test_limit_amid_a_change_of_ds(server: Dynadot, registrar: Any) -> None:
    """One refusal for the rate alone, without a delay, between the removal and the setting is survived."""
    one, two, _ = server.some_ds
    await registrar.set_ds(server.token, DOMAIN, [one])
    after_clear(server, reply(_limit(server)), times=1)
    assert await registrar.set_ds(server.token, DOMAIN, [two], within=30) is None
    assert [ds.rdata for ds in await registrar.get_ds(server.token, DOMAIN)] == [two.rdata]


@both
@pytest.mark.parametrize("refusal", ["limit", "refusal"])
async def test_ds_of_before_are_put_back(server: Dynadot, registrar: Any, refusal: str) -> None:
    """A DS that is refused once all are removed has those of before put back: nothing was changed then."""
    one, two, _ = server.some_ds
    await registrar.set_ds(server.token, DOMAIN, [one])
    answer = reply(_limit(server) if refusal == "limit" else _refusal(server))
    after_clear(server, lambda s, h, seen: str(two.key_tag) in seen.target + seen.body.decode() and answer(s, h, seen))
    with pytest.raises(RateLimited if refusal == "limit" else Rejected):
        await registrar.set_ds(server.token, DOMAIN, [two], within=30)
    server.faults.clear()
    assert [ds.rdata for ds in await registrar.get_ds(server.token, DOMAIN)] == [one.rdata]


def after_clear(server: Dynadot, fault: Any, times: int = 10**9) -> None:
    """Have what comes after the removal of all DS go wrong."""
    seen_before = len(server.seen)
    left = [times]

    def behave(played: Dynadot, handler: Any, seen: Seen) -> bool:
        if not any(_what(one) == "clear" for one in played.seen[seen_before:-1]) or left[0] < 1:
            return False
        done = fault(played, handler, seen)
        left[0] -= done
        return bool(done)

    server.fault(behave, "write")


def _limit(server: Dynadot) -> Answer:
    """Too many requests, and not for how long."""
    return Answer(429, b'{"code":429,"message":"x"}') if isinstance(server, Rest) else server.limited(1)


@both
async def test_ds_of_one_key_tag(server: Dynadot, registrar: Any) -> None:
    """Two DS of one key tag, of which Dynadot would keep one, are refused before any request is sent."""
    one, _, _ = server.some_ds
    with pytest.raises(NotSupported):
        await registrar.set_ds(server.token, DOMAIN, [one, Ds(one.key_tag, one.algorithm, 4, "ab" * 48)])
    assert not server.seen


def _what(seen: Seen) -> str:
    return "clear" if seen.method == "DELETE" or seen.query.get("command") == "clear_dnssec" else "set"


def _refusal(server: Dynadot) -> Answer:
    if isinstance(server, Rest):
        return Answer(400, b'{"code":400,"message":"Bad Request","error":{"description":"algorithm is missing"}}')
    return server.said("Response", code="-1", Error="algorithm is missing")


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
