"""What is particular to OVHcloud."""

import asyncio
import json
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import dns.dnssec
import dns.rdata
import ovh
import pytest

from adapters.base import (
    Applied,
    DomainNotInAccount,
    Follows,
    InvalidCredential,
    Locked,
    MissingPermission,
    NotSupported,
    OutcomeUnclear,
    Pending,
    RateLimited,
    Registrar,
    RegistrarError,
    Rejected,
    SetsDs,
    Unavailable,
)
from adapters.conformance.played import OLD, Answer, Seen, Server, lose_reply, reply
from adapters.ovh.api import Rule
from adapters.ovh.signature import Key
from tests.adapters.conftest import playing
from tests.patience import patient
from tests.registrars.ovh import Ovh

DOMAIN = "example.com"
NEW = ("ns1.platform.test", "ns2.platform.test")
READ = [{"method": "GET", "path": "/*"}]
NOT_FOUND = Answer(404, b'{"class":"Client::NotFound","message":"x"}')


@pytest.fixture
def server() -> Iterator[Server]:
    yield from playing("ovh")


# --- signature ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body", "signature"),
    [
        ("GET", b"", "$1$e9556054b6309771395efa467c22e627407461ad"),
        ("POST", b'{"a":"b","c":"d"}', "$1$ec2fb5c7a81f64723c77d2e5b609ae6f58a84fc1"),
        ("PUT", b'{"a":"b","c":"d"}', "$1$8a75a9e7c8e7296c9dbeda6a2a735eb6bd58ec4b"),
        ("DELETE", b"", "$1$a1eecd00b3b02b6cf5708b84b9ff42059a950d85"),
    ],
)
def test_signature_of_known_requests(method: str, body: bytes, signature: str) -> None:
    """Requests are signed as OVH's own library signs them."""
    key = Key("app", "9ufkBmLaTQ9nz5yMUlg79taH0GNnzDjk", "5mBuy6SUQcRw2ZUxg0cG68BoDKpED4KY")
    headers = key.headers(method, "https://eu.api.ovh.com/1.0/auth", body, 1457018875)
    assert headers["x-ovh-signature"] == signature
    assert (headers["x-ovh-application"], headers["x-ovh-timestamp"]) == ("app", "1457018875")
    assert "9ufk" not in repr(key)


async def test_signature_beside_the_official_client(server: Ovh, registrar: Registrar) -> None:
    """OVH's own client and ours are understood by one server, and send the same update."""
    server.instant = True
    application, secret, consumer = server.token.split(":")

    def official() -> tuple[Any, Any]:
        client = ovh.Client(
            endpoint="ovh-eu", application_key=application, application_secret=secret, consumer_key=consumer
        )
        client._endpoint = server.url
        client._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        update = client.post(f"/domain/{DOMAIN}/nameServers/update", nameServers=[{"host": host} for host in NEW])
        return client.get("/auth/currentCredential"), update

    credential, task = await asyncio.to_thread(official)
    assert (credential["status"], task["status"]) == ("validated", "done")
    theirs = server.writes.pop()
    server.domains[DOMAIN].nameservers = list(OLD)
    assert await registrar.set_nameservers(server.token, DOMAIN, NEW) == Applied(NEW)
    ours = server.writes.pop()
    assert (ours.method, ours.target, json.loads(ours.body)) == (theirs.method, theirs.target, json.loads(theirs.body))


class Anything(Ovh):
    """Answers nothing to all calls, once the signature is right."""

    def route(self, seen: Seen, path: str) -> Answer:
        return Answer(200, b"null")


async def test_signature_of_any_request() -> None:
    """Whatever the method, query and body, both sign alike what the official client sends."""
    server = Anything()
    application, secret, consumer = server.token.split(":")
    texts = ("plain", "a b+c&d=e", "ü ☃ %2F", '"quoted\\" /?#')

    def official() -> None:
        client = ovh.Client(
            endpoint="ovh-eu", application_key=application, application_secret=secret, consumer_key=consumer
        )
        client._endpoint = server.url
        client._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for text in texts:
            client.get("/domain/a.test", status=text, function="x")
            client.delete("/domain/a.test/task/1", status=text)
            client.post("/domain/a.test", value=text, more=[{"host": text}])
            client.put("/domain/a.test", value=text, none=None)

    try:
        await asyncio.to_thread(official)
        signed = [seen for seen in server.seen if not seen.path.endswith("/auth/time")]
        assert len(signed) == 4 * len(texts)
        for seen in signed:
            url = f"http://{seen.headers['host']}{seen.target}"
            time = int(seen.headers["x-ovh-timestamp"])
            ours = Key(application, secret, consumer).headers(seen.method, url, seen.body, time)
            assert ours == {name: seen.headers[name] for name in ours}
        assert server.wrong == []
    finally:
        server.stop()


async def test_clock_that_moves(server: Ovh, registrar: Registrar) -> None:
    """A refused signature has the clock looked at once more; a change is then sent, and done once."""
    server.instant = True
    await registrar.validate(server.token, DOMAIN)
    server.ahead -= 7200
    assert await registrar.set_nameservers(server.token, DOMAIN, NEW) == Applied(NEW)
    server.ahead += 7200

    def late(played: Ovh, handler: Any, seen: Any) -> bool:
        played.ahead += 7200
        played.faults.clear()
        return False

    server.fault(late, "write")
    assert await registrar.set_nameservers(server.token, DOMAIN, OLD) == Applied(OLD)
    assert len([seen for seen in server.seen if seen.path.endswith("/auth/time")]) == 4


@pytest.mark.parametrize(
    "body",
    [{"errorCode": "QUERY_TIME_OUT", "message": "marked"}, {"class": "Client::X", "message": "Query out of time"}],
)
async def test_request_out_of_time(server: Ovh, registrar: Registrar, body: dict[str, str]) -> None:
    """A request out of time has the clock looked at once more, and says nothing against the credential."""
    answer = reply(Answer(400, json.dumps(body).encode()))
    server.fault(answer, "write", times=1)
    assert isinstance(await registrar.set_nameservers(server.token, DOMAIN, NEW), Pending)
    assert len([seen for seen in server.seen if seen.path.endswith("/auth/time")]) == 2
    server.fault(lambda s, h, seen: not seen.path.endswith("/auth/time") and answer(s, h, seen))
    with pytest.raises(Unavailable):
        await registrar.get_nameservers(server.token, DOMAIN)


async def test_secret_that_is_wrong(server: Ovh, registrar: Registrar) -> None:
    """A wrong secret, which OVH tells as a wrong signature, is a refused credential after two tries."""
    with pytest.raises(InvalidCredential):
        await registrar.validate(server.wrong_token, DOMAIN)
    assert len([seen for seen in server.seen if seen.path.endswith("/currentCredential")]) == 2


# --- rights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "path", "allows"),
    [
        ("/*", "/domain/example.com", True), ("/domain/*", "/domain", False), ("/domain/*", "/domain/a/b/c", True),
        ("/domain/example.com/*", "/domain/example.com", False), ("/domain/example.com", "/domain/example.com", True),
        ("/domain/example.com", "/domain/example.com/x", False), ("/domain/*/nameServers/update", "/domain/a/nameServers/update", True),
        ("/domain/a.b", "/domain/axb", False), ("*", "/x", True), ("", "/x", False),
    ],
)  # fmt: skip
def test_rule(rule: str, path: str, allows: bool) -> None:
    """A star stands for anything, slashes too; all else for itself."""
    assert Rule("POST", rule).allows("POST", path) is allows
    assert not Rule("GET", rule).allows("POST", path)


@pytest.mark.parametrize(
    ("rules", "kind", "can_set"),
    [
        ([*READ, {"method": "POST", "path": "/domain/example.com/*"}], "external", True),
        ([*READ, {"method": "POST", "path": "/domain/example.com/*"}], "hosted", False),
        ([*READ, {"method": "POST", "path": "/domain/*"}, {"method": "PUT", "path": "/domain/*"}], "hosted", True),
        ([*READ, {"method": "POST", "path": "/domain/zone/*"}], "external", False),
        (READ, "external", False),
    ],
)
async def test_rights(server: Ovh, registrar: Registrar, rules: list[dict[str, str]], kind: str, can_set: bool) -> None:
    """Whether nameservers may be set is told by the credential's own rules, and by what the domain needs."""
    server.read_only = True
    server.rules = rules
    server.domains[DOMAIN].facts["nameServerType"] = kind
    found = await registrar.validate(server.token, DOMAIN)
    assert found.can_set_nameservers is can_set
    assert isinstance(found.obstacle, MissingPermission) is not can_set


async def test_rights_that_are_not_told(server: Ovh, registrar: Registrar) -> None:
    """A credential that may not look at itself is no failure; its rights are unknown then."""
    refusal = Answer(403, b'{"errorCode":"NOT_GRANTED_CALL","message":"marked"}')
    server.fault(lambda s, h, seen: seen.path.endswith("currentCredential") and reply(refusal)(s, h, seen))
    found = await registrar.validate(server.token, DOMAIN)
    assert (found.can_set_nameservers, found.obstacle) == (None, None)
    assert found.warnings


async def test_rule_of_a_name_with_other_letters(server: Ovh, registrar: Registrar) -> None:
    """A rule is matched with the domain as it is asked for, however OVH writes it."""
    name = "xn--bcher-kva.example"
    server.domains[name] = server.domains.pop(DOMAIN)
    server.domains[name].facts["domain"] = "bücher.example"
    server.rules = [*READ, {"method": "POST", "path": f"/domain/{name}/*"}]
    assert (await registrar.validate(server.token, name)).can_set_nameservers is True


async def test_credential_for_some_addresses(server: Ovh, registrar: Registrar) -> None:
    """A credential that is taken from listed addresses only is told with a warning; it works from ours."""
    server.allowed = ["203.0.113.0/24"]
    found = await registrar.validate(server.token, DOMAIN)
    assert found.can_set_nameservers is True
    assert ["list" in warning for warning in found.warnings] == [True]


@pytest.mark.parametrize("status", ["expired", "refused", "pendingValidation"])
async def test_credential_that_is_not_valid_any_more(server: Ovh, registrar: Registrar, status: str) -> None:
    """A credential that is not validated is refused."""
    server.status = status
    with pytest.raises(InvalidCredential):
        await registrar.validate(server.token, DOMAIN)


# --- errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, {"errorCode": "NOT_GRANTED_CALL"}, MissingPermission), (403, {"class": "Client::Forbidden"}, MissingPermission),
        (403, {"errorCode": "INVALID_CREDENTIAL"}, InvalidCredential), (403, {"errorCode": "NOT_CREDENTIAL"}, InvalidCredential),
        (403, {"errorCode": "INVALID_KEY"}, InvalidCredential), (403, {"errorCode": "FORBIDDEN"}, MissingPermission),
        (403, {"errorCode": "NEW"}, MissingPermission), (401, {"errorCode": "X"}, InvalidCredential),
        (400, {"errorCode": "INVALID_SIGNATURE"}, InvalidCredential), (400, {"class": "Client::BadRequest::X"}, Rejected),
        (404, {"class": "Client::NotFound"}, DomainNotInAccount), (404, {}, Unavailable), (409, {"class": "Client::Conflict"}, Locked),
        (460, {"class": "Client::Expired"}, Locked), (429, {"errorCode": "QUOTA"}, RateLimited),
        (500, {"class": "Server::InternalServerError"}, Unavailable), (503, {}, Unavailable),
    ],
)  # fmt: skip
async def test_error(
    server: Ovh, registrar: Registrar, status: int, body: dict[str, str], kind: type[RegistrarError]
) -> None:
    """Each documented error is told as its kind, without OVH's words."""
    answer = Answer(status, json.dumps({**body, "message": "marked words"}).encode())
    server.fault(lambda s, h, seen: seen.path.endswith(DOMAIN) and reply(answer)(s, h, seen))
    with pytest.raises(RegistrarError) as caught:
        await registrar.get_nameservers(server.token, DOMAIN, within=patient(0.45))
    assert type(caught.value) is kind
    assert "marked" not in str(caught.value)


# --- nameservers --------------------------------------------------------------------------------------


async def test_nameservers_on_their_way_out(server: Ovh, registrar: Registrar) -> None:
    """Nameservers that OVH is about to remove don't count."""
    server.domains[DOMAIN].nameservers = ["going.old.test", *OLD]
    assert await registrar.get_nameservers(server.token, DOMAIN) == OLD


async def test_nameserver_that_vanishes(server: Ovh, registrar: Registrar) -> None:
    """A nameserver that is gone between the list and the look at it is no failure."""
    server.domains[DOMAIN].nameservers = ["ns0.old.test", *OLD]
    server.vanishing = {"ns0.old.test"}
    assert await registrar.get_nameservers(server.token, DOMAIN) == OLD


async def test_list_that_is_missing(server: Ovh, registrar: Registrar) -> None:
    """A domain of the account without a list of nameservers has none."""
    server.fault(lambda s, h, seen: seen.path.endswith("/nameServer") and reply(NOT_FOUND)(s, h, seen))
    assert await registrar.get_nameservers(server.token, DOMAIN) == ()


@pytest.mark.parametrize(("kind", "methods"), [("hosted", ["PUT", "POST"]), ("external", ["POST"])])
async def test_domain_with_nameservers_of_ovh(server: Ovh, registrar: Registrar, kind: str, methods: list[str]) -> None:
    """A domain on OVH's own nameservers is made external first, and no other one is."""
    server.domains[DOMAIN].facts["nameServerType"] = kind
    await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert [seen.method for seen in server.writes] == methods


async def test_missing_right_for_a_domain_with_nameservers_of_ovh(server: Ovh, registrar: Registrar) -> None:
    """A domain is not made external where the right to set nameservers after that is missing."""
    server.read_only = True
    server.rules = [*READ, {"method": "PUT", "path": "/domain/*"}]
    server.domains[DOMAIN].facts["nameServerType"] = "hosted"
    with pytest.raises(MissingPermission):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


async def test_domain_that_may_not_have_become_external(server: Ovh, registrar: Registrar) -> None:
    """Where making it external has an unclear outcome, nameservers are not sent; the next call goes on."""
    server.domains[DOMAIN].facts["nameServerType"] = "hosted"
    server.fault(lose_reply, "write", times=1)
    with pytest.raises(OutcomeUnclear):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert isinstance(await registrar.set_nameservers(server.token, DOMAIN, NEW), Pending)
    assert [seen.method for seen in server.writes] == ["PUT", "POST"]


@pytest.mark.parametrize(("status", "kind"), [(409, Locked), (460, Locked), (400, Rejected), (403, MissingPermission)])
async def test_refused_change(server: Ovh, registrar: Registrar, status: int, kind: type[RegistrarError]) -> None:
    """A change that OVH refuses in so many words has not been made, and is not unclear."""
    server.fault(reply(Answer(status, b'{"class":"Client::X","message":"marked"}')), "write")
    with pytest.raises(kind):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert len(server.writes) == 1


async def test_change_under_way(server: Ovh, registrar: Registrar) -> None:
    """While a change is under way no other one is sent."""
    await registrar.set_nameservers(server.token, DOMAIN, NEW)
    with pytest.raises(Locked):
        await registrar.set_nameservers(server.token, DOMAIN, ("ns1.third.test", "ns2.third.test"))
    assert len(server.writes) == 1


async def test_lost_reply_of_a_task(server: Ovh, registrar: Registrar) -> None:
    """A change whose reply is lost is found among OVH's tasks, and followed there."""
    server.fault(lose_reply, "write")
    change = await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert change == Pending(str(next(iter(server.tasks))), 60)
    assert len(server.writes) == 1


async def test_tasks_that_are_not_told(server: Ovh, registrar: Registrar) -> None:
    """A credential that may not look at tasks can set nameservers all the same."""
    server.rules = [
        {"method": "GET", "path": "/domain/example.com"}, {"method": "GET", "path": "/domain/example.com/nameServer*"},
        {"method": "POST", "path": "/domain/example.com/nameServers/update"},
    ]  # fmt: skip
    assert isinstance(await registrar.set_nameservers(server.token, DOMAIN, NEW), Pending)


@pytest.mark.parametrize("status", ["error", "cancelled"])
async def test_task_that_fails(server: Ovh, registrar: Any, status: str) -> None:
    """A task may fail after OVH has taken the change."""
    assert isinstance(registrar, Follows)
    change = await registrar.set_nameservers(server.token, DOMAIN, NEW)
    comment = f"Domain {DOMAIN}: ns1.platform.test gives no answer (SOA)"
    server.tasks[int(change.operation)] |= {"status": status, "comment": comment}
    progress = await registrar.progress(server.token, DOMAIN, change.operation)
    assert not progress.done
    assert isinstance(progress.failed, Rejected)
    assert (comment in str(progress.failed)) == (status == "error")
    for secret in server.token.split(":"):
        server.tasks[int(change.operation)]["comment"] = f"the key {secret.upper()} is odd"
        progress = await registrar.progress(server.token, DOMAIN, change.operation)
        assert secret.lower() not in str(progress.failed).lower()


@pytest.mark.parametrize("call", ["GET /domain/example.com", "GET /domain/example.com/nameServer", "POST /domain/example.com/nameServers/update"])  # fmt: skip
async def test_right_that_is_missing_is_named(server: Ovh, registrar: Registrar, call: str) -> None:
    """A right that the credential lacks is told by its method and path."""
    method, _, path = call.partition(" ")
    refusal = reply(Answer(403, b'{"errorCode":"NOT_GRANTED_CALL","message":"x"}'))
    server.fault(lambda s, h, seen: (seen.method, seen.path) == (method, f"/1.0{path}") and refusal(s, h, seen))
    with pytest.raises(MissingPermission, match=f"lacks the right {call};"):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


async def test_action_that_a_policy_forbids_is_named(server: Ovh, registrar: Registrar) -> None:
    """Actions that a policy lacks are told by OVH's names; what is no such name is not."""
    told = {"unauthorizedActionsByIAM": f"domain:apiovh:nameServer/get, {server.token}, domain:apiovh:get"}
    body = {"class": "Client::Forbidden", "message": "User not granted for this request", "details": told}
    server.fault(
        lambda s, h, seen: seen.path.endswith(DOMAIN) and reply(Answer(403, json.dumps(body).encode()))(s, h, seen)
    )
    with pytest.raises(MissingPermission) as caught:
        await registrar.get_nameservers(server.token, DOMAIN)
    assert "domain:apiovh:nameServer/get, domain:apiovh:get" in caught.value.detail
    assert not [part for part in server.token.split(":") if part in str(caught.value)]


async def test_nameservers_while_some_stay(server: Ovh, registrar: Registrar) -> None:
    """While one of two is replaced the registry has both of before."""
    await registrar.set_nameservers(server.token, DOMAIN, (OLD[0], NEW[0]))
    server.begin()
    assert await registrar.get_nameservers(server.token, DOMAIN) == OLD
    with pytest.raises(Locked):
        await registrar.set_nameservers(server.token, DOMAIN, (OLD[0], NEW[0]))
    server.settle()
    assert await registrar.get_nameservers(server.token, DOMAIN) == (OLD[0], NEW[0])


@pytest.mark.parametrize(("status", "there"), [("published", True), ("active", True), ("removed", False), ("revoked", False), ("generated", False)])  # fmt: skip
async def test_ds_by_the_status_of_its_key(server: Ovh, registrar: Any, status: str, there: bool) -> None:
    """A key that the registry has no DS of, not yet or not any more, is not on record."""
    one = server.some_ds[0]
    key = {"algorithm": 13, "flags": 257, "publicKey": one.public_key, "tag": one.key_tag, "status": status}
    server.domains[DOMAIN].ds = [{"key": key}]
    assert await registrar.get_ds(server.token, DOMAIN) == ((one,) if there else ())


async def test_task_that_is_gone(server: Ovh, registrar: Any) -> None:
    """A task that OVH does not know says nothing against the domain, which is in the account."""
    with pytest.raises(Rejected):
        await registrar.progress(server.token, DOMAIN, "999")
    with pytest.raises(DomainNotInAccount):
        await registrar.progress(server.token, "example.co.uk", "999")


async def test_task_that_vanishes(server: Ovh, registrar: Registrar) -> None:
    """A task that is gone between the list and the look at it is not under way."""
    await registrar.set_nameservers(server.token, DOMAIN, ("ns1.third.test", "ns2.third.test"))

    def gone(played: Ovh, handler: Any, seen: Any) -> bool:
        if "/task/" not in seen.path:
            return False
        played.settle()
        return reply(NOT_FOUND)(played, handler, seen)

    server.fault(gone, "read")
    assert isinstance(await registrar.set_nameservers(server.token, DOMAIN, NEW), Pending)


@pytest.mark.parametrize("operation", ["", "x", "1/../2", "-1", "1" * 30])
async def test_task_that_is_none(server: Ovh, registrar: Any, operation: str) -> None:
    """What is no task's id is not asked for."""
    with pytest.raises(Rejected):
        await registrar.progress(server.token, DOMAIN, operation)
    assert not server.seen


# --- DS -----------------------------------------------------------------------------------------------


async def test_ds_without_its_key(server: Ovh, registrar: Any) -> None:
    """A DS without the key that it was made of cannot be set at OVH; one of another key is refused."""
    assert isinstance(registrar, SetsDs)
    one, two, _ = server.some_ds
    with pytest.raises(NotSupported):
        await registrar.set_ds(server.token, DOMAIN, [_with(one, public_key="")])
    for wrong in (
        _with(one, public_key=two.public_key),
        _with(one, key_tag=1),
        _with(one, public_key="%%"),
        _with(one, flags=256),
    ):
        with pytest.raises(Rejected):
            await registrar.set_ds(server.token, DOMAIN, [wrong])
    assert not server.writes


def _with(ds: Any, **more: Any) -> Any:
    return type(ds)(**{**vars(ds), **more})


async def test_ds_of_another_digest(server: Ovh, registrar: Any) -> None:
    """A DS that OVH would not make of the key cannot be set, though it is the key's."""
    one = server.some_ds[0]
    key = dns.rdata.from_text("IN", "DNSKEY", f"257 3 13 {one.public_key}")
    digest = dns.dnssec.make_ds(f"{DOMAIN}.", key, "SHA384").digest.hex()
    with pytest.raises(NotSupported):
        await registrar.set_ds(server.token, DOMAIN, [_with(one, digest_type=4, digest=digest)])
    assert not server.writes


async def test_key_as_it_is_sent(server: Ovh, registrar: Any) -> None:
    """Each key is sent once, and without the blanks that zone files have in it."""
    one = server.some_ds[0]
    blank = _with(one, public_key=f"{one.public_key[:20]} {one.public_key[20:]}")
    await registrar.set_ds(server.token, DOMAIN, [one, blank, one])
    key = {"algorithm": 13, "flags": 257, "publicKey": one.public_key, "tag": one.key_tag}
    assert json.loads(server.writes[0].body) == {"keys": [key]}


@pytest.mark.parametrize("name", ["publicKey", "publickey"])
async def test_key_as_it_is_told(server: Ovh, registrar: Any, name: str) -> None:
    """The key is read in both spellings."""
    one = server.some_ds[0]
    server.domains[DOMAIN].ds = [{"key": {"algorithm": 13, "flags": 257, name: one.public_key, "tag": one.key_tag}}]
    assert await registrar.get_ds(server.token, DOMAIN) == (one,)


@pytest.mark.parametrize("key", ["", "%%"])
async def test_key_that_is_none(server: Ovh, registrar: Any, key: str) -> None:
    """What is no key is no DS, and not none either."""
    server.domains[DOMAIN].ds = [{"key": {"algorithm": 13, "flags": 257, "publicKey": key, "tag": 1}}]
    with pytest.raises(Unavailable):
        await registrar.get_ds(server.token, DOMAIN)


async def test_list_of_ds_that_is_missing(server: Ovh, registrar: Any) -> None:
    """A list of DS that is not found means neither that there is none, nor that the domain is not in the account."""
    server.fault(lambda s, h, seen: seen.path.endswith("/dsRecord") and reply(NOT_FOUND)(s, h, seen))
    with pytest.raises(Unavailable):
        await registrar.get_ds(server.token, DOMAIN)


async def test_ds_under_way(server: Ovh, registrar: Any) -> None:
    """While a change of DS is under way no other one is sent: its task would be taken for ours."""
    one, two, _ = server.some_ds
    await registrar.set_ds(server.token, DOMAIN, [one])
    with pytest.raises(Locked):
        await registrar.set_ds(server.token, DOMAIN, [two])
    assert len(server.writes) == 1


async def test_ds_where_there_is_none(server: Ovh, registrar: Any) -> None:
    """A domain for which OVH offers no DNSSEC is told as such."""
    server.domains[DOMAIN].facts["dnssecSupported"] = False
    with pytest.raises(NotSupported):
        await registrar.get_ds(server.token, DOMAIN)


@pytest.mark.parametrize("instant", [True, False])
async def test_ds_whose_reply_is_lost(server: Ovh, registrar: Any, instant: bool) -> None:
    """A DS whose reply is lost is read back, or found among the tasks, and not sent again."""
    server.instant = instant
    server.fault(lose_reply, "write")
    change = await registrar.set_ds(server.token, DOMAIN, server.some_ds[:1])
    assert (change is None) == instant
    assert len(server.writes) == 1


async def test_ds_that_may_not_have_been_set(server: Ovh, registrar: Any) -> None:
    """A DS that breaks off, and is not there, is told as unclear."""
    server.fault(reply(Answer(500)), "write")
    with pytest.raises(OutcomeUnclear):
        await registrar.set_ds(server.token, DOMAIN, server.some_ds[:1])
