"""What is particular to GoDaddy."""

import json
from typing import Any

import pytest

from adapters.base import (
    AccountNotEligible,
    Applied,
    DomainNotInAccount,
    Follows,
    InvalidCredential,
    KnowsRepeats,
    Locked,
    MissingPermission,
    NotSupported,
    OutcomeUnclear,
    Pending,
    Progress,
    RateLimited,
    Registrar,
    RegistrarError,
    Rejected,
    Unavailable,
    UnknownHost,
)
from adapters.conformance.played import OLD, Answer, Seen, reply
from tests.patience import patient
from tests.registrars.godaddy import ByKey, ByToken, GoDaddy

DOMAIN = "example.com"
NEW = ("ns1.platform.test", "ns2.platform.test")
both = pytest.mark.parametrize("server", ["godaddy-key", "godaddy-pat"], indirect=True)
by_token = pytest.mark.parametrize("server", ["godaddy-pat"], indirect=True)
by_key = pytest.mark.parametrize("server", ["godaddy-key"], indirect=True)


@both
@pytest.mark.parametrize("member", ["code", "name"])
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "UNABLE_TO_AUTHENTICATE", InvalidCredential), (401, "", InvalidCredential), (400, "MALFORMED_CREDENTIALS", InvalidCredential),
        (403, "ACCESS_DENIED", AccountNotEligible), (403, "ACCOUNT_NOT_ELIGIBLE", AccountNotEligible),
        (403, "INSUFFICIENT_SCOPE", MissingPermission), (403, "", MissingPermission), (404, "NOT_FOUND", DomainNotInAccount),
        (409, "INACTIVE_DOMAIN", Locked), (409, "SOMETHING_ELSE", Locked), (422, "FAILED_NAME_SERVER_VALIDATION", UnknownHost),
        (422, "MISSING_NAME_SERVER", Rejected), (422, "INVALID_BODY", Rejected), (422, "UNSUPPORTED_TLD", NotSupported),
        (400, "", Rejected), (500, "INTERNAL", Unavailable), (502, "", Unavailable), (503, "", Unavailable), (504, "", Unavailable),
        (404, "", Unavailable), (404, "ROUTE_UNKNOWN", Unavailable), (404, "not_found", DomainNotInAccount),
        (404, "Not Found", DomainNotInAccount), (404, "UNKNOWN_DOMAIN", DomainNotInAccount), (418, "TEAPOT", Unavailable),
        (403, "Specified Subaccount not owned", MissingPermission),
    ],
)  # fmt: skip
async def test_error(
    server: GoDaddy, registrar: Registrar, member: str, status: int, code: str, kind: type[RegistrarError]
) -> None:
    """Each documented error is told as its kind, without GoDaddy's words, whichever shape it has."""
    body = {member: code, "message": "marked words", "details": []} if code else {"message": "marked words"}
    server.fault(reply(Answer(status, json.dumps(body).encode())))
    with pytest.raises(RegistrarError) as caught:
        await registrar.validate(server.token, DOMAIN, within=patient(0.45))
    assert type(caught.value) is kind
    assert "marked" not in str(caught.value)


@both
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "INVALID_BODY", Rejected), (401, "UNABLE_TO_AUTHENTICATE", InvalidCredential), (403, "ACCESS_DENIED", AccountNotEligible),
        (403, "INSUFFICIENT_SCOPE", MissingPermission), (404, "NOT_FOUND", DomainNotInAccount), (409, "INACTIVE_DOMAIN", Locked),
        (422, "FAILED_NAME_SERVER_VALIDATION", UnknownHost), (422, "UNSUPPORTED_TLD", NotSupported),
    ],
)  # fmt: skip
async def test_change_that_is_refused(
    server: GoDaddy, registrar: Registrar, status: int, code: str, kind: type[RegistrarError]
) -> None:
    """A change that GoDaddy refuses in so many words is told as refused, and was not made."""
    server.fault(reply(Answer(status, json.dumps({"code": code}).encode())), "write")
    with pytest.raises(RegistrarError) as caught:
        await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert type(caught.value) is kind
    assert await registrar.get_nameservers(server.token, DOMAIN) == OLD
    assert len(server.writes) == 1


@both
async def test_words_of_a_refusal(server: GoDaddy, registrar: Registrar) -> None:
    """Of a refusal that nobody has documented the customer reads GoDaddy's words, and never those with a credential."""
    for status, text, shown in (
        (422, "Nameserver change is not allowed for this domain", True),
        (412, "The domain is odd", True),
        (422, f"the token {server.token} is odd", False),
        (422, f"odd {server.token.rpartition(':')[2].upper()}", False),
    ):
        server.faults.clear()
        server.fault(reply(Answer(status, json.dumps({"code": "NEW_RULE", "message": text}).encode())), "write")
        with pytest.raises(Rejected) as caught:
            await registrar.set_nameservers(server.token, DOMAIN, NEW)
        assert (text in caught.value.detail) == shown
        assert server.token.rpartition(":")[2].lower() not in str(caught.value).lower()


@both
@pytest.mark.parametrize(
    "body", [{"code": None, "name": "INSUFFICIENT_SCOPE"}, {"code": 403, "name": "INSUFFICIENT_SCOPE"}, {"name": None}]
)
async def test_error_of_another_form(server: GoDaddy, registrar: Registrar, body: dict[str, object]) -> None:
    """A member of another type than documented does not turn a missing right into a wrong credential."""
    server.fault(reply(Answer(403, json.dumps(body).encode())))
    with pytest.raises(MissingPermission):
        await registrar.validate(server.token, DOMAIN)


@both
@pytest.mark.parametrize("member", ["code", "name"])
@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 500])
async def test_credential_as_a_code(server: GoDaddy, registrar: Registrar, member: str, status: int) -> None:
    """A credential that is sent back in place of a code is in no failure, in whatever letters."""
    for text in (server.token, *server.token.split(":")):
        server.fault(reply(Answer(status, json.dumps({member: text}).encode())))
        with pytest.raises(RegistrarError) as caught:
            await registrar.validate(server.token, DOMAIN, within=patient(0.35))
        assert caught.value.code in {"", str(status)}
        assert text.lower() not in repr(caught.value).lower()
        server.faults.clear()


@both
@pytest.mark.parametrize("status", [401, 403])
async def test_error_without_words(server: GoDaddy, registrar: Registrar, status: int) -> None:
    """A refusal whose body is a page counts by its status."""
    server.fault(reply(Answer(status, b"<html>Access denied</html>", {"Content-Type": "text/html"})))
    with pytest.raises(InvalidCredential):
        await registrar.validate(server.token, DOMAIN)


@both
@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("https://sso.godaddy.com/?app=x", InvalidCredential), ("https://godaddy.com.evil.test/", Unavailable),
        ("https://notgodaddy.com/", Unavailable), ("https://godaddy.com/away", Unavailable), ("/relative", Unavailable), ("http://[bad", Unavailable),
    ],
)  # fmt: skip
async def test_redirect_to_sign_on(
    server: GoDaddy, registrar: Registrar, location: str, kind: type[RegistrarError]
) -> None:
    """To be sent to sign on means a credential that GoDaddy cannot read; other redirects mean nothing."""
    server.fault(reply(Answer(302, b"", {"Location": location})))
    with pytest.raises(kind):
        await registrar.validate(server.token, DOMAIN, within=patient(0.45))


@both
@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "1000"}, {"code": "TOO_MANY_REQUESTS", "retryAfterSec": 17}, 1000),
        ({"RateLimit-Reset": "900"}, {"code": "TOO_MANY_REQUESTS", "retryAfterSec": 17}, 900),
        ({}, {"code": "TOO_MANY_REQUESTS", "retryAfterSec": 170}, 170), ({}, {"code": "TOO_MANY_REQUESTS"}, 60),
        ({"RateLimit-Reset": "900"}, "no object", 900), ({"RateLimit-Reset": "9" * 5000}, {"retryAfterSec": 170}, 170),
        ({"RateLimit-Reset": "1795439000"}, {}, 60), ({}, {"retryAfterSec": -7}, 60), ({}, {"retryAfterSec": 10**12}, 60),
        ({}, {"retryAfterSec": "soon", "code": None}, 60),
    ],
)  # fmt: skip
async def test_delay(
    server: GoDaddy, registrar: Registrar, headers: dict[str, str], body: object, seconds: int
) -> None:
    """The delay stands in a header, or in the body, or is a minute; a number that is none is not heeded."""
    server.fault(reply(Answer(429, json.dumps(body).encode(), headers)))
    with pytest.raises(RateLimited) as caught:
        await registrar.validate(server.token, DOMAIN)
    assert caught.value.retry_after_seconds == seconds


@both
@pytest.mark.parametrize(
    ("status", "can_set", "obstacle"),
    [
        ("ACTIVE", None, None), ("PARKED", None, None), ("SOMETHING_NEW", None, None), ("EXPIRED", False, Locked),
        ("HELD_REGISTRAR", False, Locked), ("LOCKED_REGISTRAR", False, Locked), ("SUSPENDED", False, Locked),
        ("DELETED_REDEEMABLE", False, Locked), ("PENDING_TRANSFER", False, Locked), ("PENDING_TRANSFER_OUT", False, Locked),
        ("PENDING_REGISTRATION", False, Locked), ("CANCELLED_REDEEMABLE", False, Locked), ("CANCELLED_HELD", False, Locked),
        ("PARKED_AND_HELD", False, Locked), ("PARKED_EXPIRED", False, Locked), ("PENDING_DNS", None, None),
    ],
)  # fmt: skip
async def test_status_of_the_domain(
    server: GoDaddy, registrar: Registrar, status: str, can_set: bool | None, obstacle: type[RegistrarError] | None
) -> None:
    """A status that forbids changes is told before one is tried; a transfer lock is none."""
    server.domains[DOMAIN].facts = {"status": status, "transferLock": True}
    found = await registrar.validate(server.token, DOMAIN)
    assert found.can_set_nameservers is can_set
    assert (type(found.obstacle) if found.obstacle else None) is obstacle
    if obstacle is not None:
        with pytest.raises(obstacle):
            await registrar.set_nameservers(server.token, DOMAIN, NEW)
        assert not server.writes


@both
@pytest.mark.parametrize(
    "status",
    ["TRANSFERRED", "TRANSFERRED_OUT", "CANCELLED", "REPOSSESSED", "CONFISCATED", "OWNERSHIP_CHANGED", "UPDATED_OWNERSHIP",
     "FAILED"],
)  # fmt: skip
async def test_domain_that_has_left(server: GoDaddy, registrar: Registrar, status: str) -> None:
    """A domain that has left the account still answers, and is not in it."""
    server.domains[DOMAIN].facts = {"status": status}
    with pytest.raises(DomainNotInAccount):
        await registrar.validate(server.token, DOMAIN)


@both
@pytest.mark.parametrize("status", ["PENDING_DNS_ACTIVE", "PENDING_DNS_INACTIVE"])
async def test_domain_with_its_dns_alone(server: GoDaddy, registrar: Registrar, status: str) -> None:
    """A domain that is registered elsewhere, and only has its DNS at GoDaddy, is not in the account."""
    server.domains[DOMAIN].facts = {"status": status}
    for call in (registrar.validate(server.token, DOMAIN), registrar.set_nameservers(server.token, DOMAIN, NEW)):
        with pytest.raises(DomainNotInAccount, match="registered elsewhere"):
            await call
    assert not server.writes


@by_token
@pytest.mark.parametrize(("kind", "scope"), [("read", "domains.domain:read"), ("write", "domains.nameserver:update")])
async def test_scope_that_is_missing_is_named(server: ByToken, registrar: Registrar, kind: Any, scope: str) -> None:
    """The scope that a token lacks for the call is told by its name."""
    server.fault(reply(Answer(403, b'{"name": "INSUFFICIENT_SCOPE", "message": "x", "correlationId": "c"}')), kind)
    with pytest.raises(MissingPermission, match=f"needs the scope {scope}"):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


@by_token
async def test_change_that_is_repeated_under_its_key(server: ByToken, registrar: Registrar) -> None:
    """A change that is sent again under its key is made once; one without a key of its own gets a new one each time."""
    assert isinstance(registrar, KnowsRepeats)
    assert registrar.knows_repeats(server.token)
    key = "0123456789abcdef"
    first = await registrar.set_nameservers(server.token, DOMAIN, NEW, key=key)
    assert await registrar.set_nameservers(server.token, DOMAIN, NEW, key=key) == first
    assert len(server.operations) == 1
    for _ in range(2):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert len({seen.headers["idempotency-key"] for seen in server.writes}) == 3


@by_key
async def test_classic_key_knows_no_repeats(server: ByKey, registrar: Registrar) -> None:
    """With a classic key nothing tells a repeat from another change."""
    assert isinstance(registrar, KnowsRepeats)
    assert not registrar.knows_repeats(server.token)
    with pytest.raises(InvalidCredential):
        registrar.knows_repeats("odd")


@by_key
async def test_partial_answer(server: ByKey, registrar: Registrar) -> None:
    """A partial answer (203) without nameservers counts as none; contacts and transfer codes are not kept."""
    server.domains[DOMAIN].facts = {"partial": True, "nameServers": None}
    found = await registrar.validate(server.token, DOMAIN)
    assert found.nameservers == ()
    assert "marked" not in repr(found)


@by_key
async def test_old_set_told_for_a_while(server: ByKey, registrar: Registrar) -> None:
    """A change that was taken, while the old set is still told, is pending; reading again tells."""
    server.lazy = True
    change = await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert isinstance(change, Pending)
    assert change.operation is None
    assert await registrar.get_nameservers(server.token, DOMAIN) == OLD


@by_key
@pytest.mark.parametrize(("lazy", "made"), [(False, True), (True, False)])
async def test_change_that_is_answered_with_200(server: ByKey, registrar: Registrar, lazy: bool, made: bool) -> None:
    """An empty 200 counts only where the change can be read back: an edge that lost its origin answers the same."""
    server.lazy = lazy

    def emptily(played: ByKey, handler: Any, seen: Seen) -> bool:
        played.answer(seen)
        return reply(Answer(200))(played, handler, seen)

    server.fault(emptily, "write")
    call = registrar.set_nameservers(server.token, DOMAIN, NEW)
    if made:
        assert await call == Applied(NEW)
    else:
        with pytest.raises(OutcomeUnclear):
            await call
    assert len(server.writes) == 1


@by_key
async def test_operation_of_a_classic_key(server: ByKey, registrar: Registrar) -> None:
    """A classic key has no operations."""
    assert isinstance(registrar, Follows)
    with pytest.raises(NotSupported):
        await registrar.progress(server.token, DOMAIN, "abc")
    assert not server.seen


@by_token
async def test_operation_that_is_done_at_once(server: ByToken, registrar: Registrar) -> None:
    """An operation that is complete in the reply is read back."""
    server.instant = True
    assert await registrar.set_nameservers(server.token, DOMAIN, NEW) == Applied(NEW)


@by_token
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "registry_rejected", "message": "marked"}, Rejected), (None, Rejected), ({"code": "whatever"}, Rejected),
        ({"code": "FAILED_NAME_SERVER_VALIDATION"}, UnknownHost),
    ],
)  # fmt: skip
async def test_operation_that_fails(
    server: ByToken, registrar: Registrar, error: dict[str, str] | None, kind: type[RegistrarError]
) -> None:
    """An operation may fail after GoDaddy has taken the change."""
    assert isinstance(registrar, Follows)
    change = await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert isinstance(change, Pending)
    assert change.operation is not None
    server.operations[change.operation] |= {"status": "FAILED", "error": error}
    progress = await registrar.progress(server.token, DOMAIN, change.operation)
    assert not progress.done
    assert type(progress.failed) is kind
    assert "marked" not in str(progress.failed)


@by_token
async def test_operation_that_fails_at_once(server: ByToken, registrar: Registrar) -> None:
    """An operation that has failed in the reply already is a refusal."""
    body = {"operationId": "op1", "status": "FAILED", "error": {"code": "FAILED_NAME_SERVER_VALIDATION"}}
    server.fault(reply(Answer(202, json.dumps(body).encode())), "write")
    with pytest.raises(UnknownHost):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


@by_token
@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "7"}, 7), ({}, 5), ({"Retry-After": "0"}, 1), ({"Retry-After": "x"}, 5)]
)
async def test_delay_of_an_operation(
    server: ByToken, registrar: Registrar, headers: dict[str, str], seconds: int
) -> None:
    """An operation is asked about after the delay that GoDaddy tells, and never without any."""
    assert isinstance(registrar, Follows)
    body = json.dumps({"operationId": "op1", "domain": DOMAIN, "status": "EXECUTING"}).encode()
    server.fault(reply(Answer(202, body, headers)), "write")
    assert await registrar.set_nameservers(server.token, DOMAIN, NEW) == Pending("op1", seconds)
    server.faults.clear()
    server.fault(reply(Answer(200, body, headers)))
    assert await registrar.progress(server.token, DOMAIN, "op1") == Progress(done=False, poll_after_seconds=seconds)


@by_token
@pytest.mark.parametrize("identity", ["../../v1/domains", "http://127.0.0.1:9/", "", "a" * 101])
async def test_operation_without_an_id(server: ByToken, registrar: Registrar, identity: str) -> None:
    """A change that is taken under something that is no id leaves its outcome unclear."""
    server.fault(reply(Answer(202, json.dumps({"operationId": identity, "status": "CONFIRMED"}).encode())), "write")
    with pytest.raises(OutcomeUnclear):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


@by_token
async def test_operation_that_is_told_without_its_id(server: ByToken, registrar: Registrar) -> None:
    """Who asks about an operation knows its id; the reply need not repeat it."""
    assert isinstance(registrar, Follows)
    server.fault(reply(Answer(200, b'{"status": "FAILED", "error": {"code": null, "name": "registry_rejected"}}')))
    assert type((await registrar.progress(server.token, DOMAIN, "op1")).failed) is Rejected


@by_token
async def test_operation_that_is_not_known(server: ByToken, registrar: Registrar) -> None:
    """An operation that GoDaddy does not know says nothing against the domain, unless that is gone too."""
    assert isinstance(registrar, Follows)
    with pytest.raises(Rejected):
        await registrar.progress(server.token, DOMAIN, "op1")
    with pytest.raises(DomainNotInAccount):
        await registrar.progress(server.token, "example.co.uk", "op1")


@by_token
async def test_operation_of_another_domain(server: ByToken, registrar: Registrar) -> None:
    """An operation of another domain tells nothing of this one."""
    assert isinstance(registrar, Follows)
    change = await registrar.set_nameservers(server.token, "other.org", NEW)
    assert isinstance(change, Pending)
    assert change.operation is not None
    server.settle()
    with pytest.raises(Rejected):
        await registrar.progress(server.token, DOMAIN, change.operation)


@by_token
@pytest.mark.parametrize("operation", ["../domain-names/example.com", "", "a b", "a?b", "-", "a\n", "é", "a" * 101])
async def test_operation_that_is_none(server: ByToken, registrar: Registrar, operation: str) -> None:
    """What is no operation's id is not asked for."""
    assert isinstance(registrar, Follows)
    with pytest.raises(Rejected):
        await registrar.progress(server.token, DOMAIN, operation)
    assert not server.seen
