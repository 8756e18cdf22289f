"""What adapters/base.py promises, for each adapter, against its registrar as it is played."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest

from adapters.base import (
    Applied,
    Change,
    DomainNotInAccount,
    Follows,
    InvalidCredential,
    Locked,
    ManagedByRegistrar,
    NotSupported,
    OutcomeUnclear,
    Pending,
    RateLimited,
    ReadsDs,
    Registrar,
    RegistrarError,
    Rejected,
    SetsDs,
    SetsGlue,
    Unavailable,
)
from adapters.conformance.patience import patient
from adapters.conformance.played import NONSENSE, OLD, Answer, Server, drip, drop, limited, lose_reply, reply, silent

DOMAIN = "example.com"
NEW = ("ns1.platform.test", "ns2.platform.test", "ns3.platform.test")
SHORT = patient(0.45)
"""Seconds for a call that is to run out of time."""


setters = pytest.mark.ability("sets nameservers")
followed = pytest.mark.ability("tells progress")
busy = pytest.mark.ability("may be busy")
ds_readers = pytest.mark.ability("reads DS")
ds_setters = pytest.mark.ability("sets DS")
glue_setters = pytest.mark.ability("sets glue")


async def in_time(call: Awaitable[Any], seconds: float) -> Any:
    """Await a call that has `seconds`; one that takes far longer has no deadline."""
    async with asyncio.timeout(seconds + patient(2)):
        return await call


async def settled(server: Server, change: Change) -> tuple[str, ...]:
    """What the registrar has once it has done everything."""
    assert isinstance(change, Applied | Pending)
    server.settle()
    return tuple(sorted(server.domains[DOMAIN].nameservers))


# --- validate -----------------------------------------------------------------------------------------


async def test_validate_of_a_good_credential(server: Server, registrar: Registrar) -> None:
    """The nameservers are told, and whether they may be set, by reading alone."""
    server.read_only = True
    found = await registrar.validate(server.token, DOMAIN)
    assert found.nameservers == OLD
    assert found.can_set_nameservers is server.can_set
    assert (found.obstacle is not None) == (server.can_set is False)
    if found.obstacle:
        assert found.obstacle.detail in found.warnings
    assert not server.writes


async def test_validate_of_a_refused_credential(server: Server, registrar: Registrar) -> None:
    """A credential that the provider refuses is told as such."""
    server.read_only = True
    with pytest.raises(InvalidCredential):
        await registrar.validate(server.wrong_token, DOMAIN)
    assert server.seen


async def test_credential_of_a_wrong_form(server: Server, registrar: Registrar) -> None:
    """A credential of a wrong form is refused before any request is sent, by every call."""
    calls: list[Callable[[str], Awaitable[Any]]] = [
        lambda token: registrar.validate(token, DOMAIN),
        lambda token: registrar.get_nameservers(token, DOMAIN),
    ]
    if server.about.sets_nameservers:
        calls.append(lambda token: registrar.set_nameservers(token, DOMAIN, NEW))
    assert server.malformed
    for token in (*server.malformed, "x\r\ny: z", "a:b:c:d:e:f:g"):
        for call in calls:
            with pytest.raises(InvalidCredential):
                await call(token)
    assert not server.seen


async def test_domain_of_somebody_else(server: Server, registrar: Registrar) -> None:
    """A domain that the account does not have is told as such, when reading and when writing."""
    server.read_only = True
    with pytest.raises(DomainNotInAccount):
        await registrar.validate(server.token, "example.co.uk")
    if server.about.sets_nameservers:
        with pytest.raises(DomainNotInAccount):
            await registrar.set_nameservers(server.token, "example.co.uk", NEW)


@setters
async def test_domain_below_a_suffix_of_two_labels(server: Server, registrar: Registrar) -> None:
    """A registrable domain may lie below a public suffix of more than one label."""
    server.domains["example.co.uk"] = server.domains.pop(DOMAIN)
    assert (await registrar.validate(server.token, "example.co.uk")).nameservers == OLD
    await registrar.set_nameservers(server.token, "example.co.uk", NEW)
    server.settle()
    assert tuple(sorted(server.domains["example.co.uk"].nameservers)) == NEW


# --- nameservers --------------------------------------------------------------------------------------


async def test_nameservers_as_providers_write_them(server: Server, registrar: Registrar) -> None:
    """Order, letter case, a trailing dot and repeats mean nothing."""
    server.domains[DOMAIN].nameservers = ["NS2.Old.Test.", "ns1.old.test", "ns2.old.test"]
    assert await registrar.get_nameservers(server.token, DOMAIN) == OLD
    if server.about.sets_nameservers:
        assert await registrar.set_nameservers(server.token, DOMAIN, ["NS1.OLD.TEST.", "ns2.old.test"]) == Applied(OLD)
        assert not server.writes


@setters
async def test_set_nameservers(server: Server, registrar: Registrar) -> None:
    """The set becomes exactly the wanted one, whatever its size; nothing else is touched."""
    before = {name: dict(domain.facts) for name, domain in server.domains.items()}
    many = tuple(sorted(f"ns{number}.platform.test" for number in range(1, 13)))
    for wanted in (NEW, many[:2], many):
        change = await registrar.set_nameservers(server.token, DOMAIN, tuple(reversed(wanted)))
        assert await settled(server, change) == wanted
        if isinstance(change, Applied):
            assert change.nameservers == wanted
        assert await registrar.get_nameservers(server.token, DOMAIN) == wanted
    assert server.domains["other.org"].nameservers == ["a.other.test", "b.other.test"]
    assert {name: domain.facts for name, domain in server.domains.items()} == before


@setters
async def test_set_that_is_there_already(server: Server, registrar: Registrar) -> None:
    """Nothing is written where nothing differs."""
    server.read_only = True
    assert await registrar.set_nameservers(server.token, DOMAIN, OLD) == Applied(OLD)


@pytest.mark.ability("sets no nameservers")
async def test_set_where_it_cannot_be(server: Server, registrar: Registrar) -> None:
    """A registrar that lets nobody change nameservers says so without being asked, and validate says it before."""
    with pytest.raises(ManagedByRegistrar):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert not server.seen
    found = await registrar.validate(server.token, DOMAIN)
    assert isinstance(found.obstacle, ManagedByRegistrar)


@pytest.mark.parametrize(
    "hosts",
    [(), ("ns1.a.test",), ("ns1.a.test", "NS1.a.test."), ("192.0.2.1", "ns1.a.test"), ("ns1", "ns1.a.test"),
     ("ns1.a.test,evil.test", "ns2.a.test"), ("ns1.a.test&x=y", "ns2.a.test"), ("a..test", "ns2.a.test"),
     tuple(f"ns{number}.a.test" for number in range(14))],
)  # fmt: skip
@setters
async def test_set_that_no_registry_takes(server: Server, registrar: Registrar, hosts: tuple[str, ...]) -> None:
    """What is no set of nameservers is refused before any request is sent."""
    with pytest.raises(Rejected):
        await registrar.set_nameservers(server.token, DOMAIN, hosts)
    assert not server.seen


# --- unclear outcomes ---------------------------------------------------------------------------------


@setters
async def test_reply_that_is_lost(server: Server, registrar: Registrar) -> None:
    """A change whose reply is lost is read back, and not sent again."""
    server.instant = True
    server.fault(_on_the_change(server, lose_reply), "write")
    change = await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert change == Applied(NEW)
    assert len(_changes(server)) == 1


@pytest.mark.parametrize(
    "fault", [drop, silent, reply(Answer(500)), reply(NONSENSE["html 502"]), reply(NONSENSE["html"])]
)
@setters
async def test_change_that_may_not_have_been_made(
    server: Server, registrar: Registrar, fault: Callable[..., bool]
) -> None:
    """A change that breaks off, and is not there, is told as unclear; it is not sent again."""
    server.fault(_on_the_change(server, fault), "write")
    with pytest.raises(OutcomeUnclear):
        await in_time(registrar.set_nameservers(server.token, DOMAIN, NEW, within=1.2), 1.2)
    assert len(_changes(server)) == 1


@setters
@pytest.mark.parametrize("reply_is_lost", [True, False])
async def test_change_that_cannot_be_read_back(server: Server, registrar: Registrar, reply_is_lost: bool) -> None:
    """A change is not told as made when it could not be read back, whether its own reply came or not."""
    server.instant = True

    def then_away(played: Server, handler: Any, seen: Any) -> bool:
        played.fault(reply(Answer(503)), "read")
        return reply_is_lost and lose_reply(played, handler, seen)

    server.fault(_on_the_change(server, then_away), "write")
    with pytest.raises(OutcomeUnclear):
        await in_time(registrar.set_nameservers(server.token, DOMAIN, NEW, within=1.2), 1.2)
    assert len(_changes(server)) == 1


@setters
async def test_refusal_that_nobody_has_documented(server: Server, registrar: Registrar) -> None:
    """What the provider refuses in its own form was not made, whatever its number: the outcome is not unclear."""
    told: list[str] = []
    answers = server.refusals()
    assert answers
    for answer in answers:
        server.faults.clear()
        server.seen.clear()
        server.fault(_on_the_change(server, reply(answer)), "write")
        with pytest.raises(RegistrarError) as caught:
            await registrar.set_nameservers(server.token, DOMAIN, NEW)
        assert type(caught.value) in {Rejected, DomainNotInAccount, Locked}, answer
        told.append(str(caught.value))
        assert len(_changes(server)) == 1
        assert server.domains[DOMAIN].nameservers == list(OLD)
    assert [text for text in told if "ome words" in text], "the customer reads why, in the provider's harmless words"


@setters
async def test_credential_in_a_refusal(server: Server, registrar: Registrar) -> None:
    """A provider's words that hold a credential, or a part of it, in whatever letters, are not told."""
    secrets = [part for part in server.token.split(":") if len(part) >= 10 and not part.replace(".", "").isdigit()]
    assert secrets
    for secret in secrets:
        for answer in server.refusals(f"the key {secret.upper()} is odd"):
            server.faults.clear()
            server.fault(_on_the_change(server, reply(answer)), "write")
            with pytest.raises(RegistrarError) as caught:
                await registrar.set_nameservers(server.token, DOMAIN, NEW)
            assert secret.lower() not in repr(caught.value).lower()


def _changes(server: Server) -> list[Any]:
    """The requests that change the set itself; some providers want others before."""
    return [seen for seen in server.writes if server.is_change(seen)]


def _on_the_change(server: Server, fault: Callable[..., bool]) -> Callable[..., bool]:
    return lambda played, handler, seen: server.is_change(seen) and fault(played, handler, seen)


# --- limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["read", "write"])
@setters
async def test_limit_that_fits(server: Server, registrar: Registrar, kind: Any) -> None:
    """A provider's delay that fits into the deadline is waited for; one that is not told, is not."""
    refused: list[float] = []

    def not_before(played: Server, handler: Any, seen: Any) -> bool:
        if refused and monotonic() - refused[0] < 0.9:
            played.wrong.append("a request before the delay was over")
        if not refused:
            refused.append(monotonic())
            return limited(1)(played, handler, seen)
        return False

    server.fault(not_before, kind)
    call = registrar.set_nameservers(server.token, DOMAIN, NEW)
    if server.limit_has_delay:
        assert await settled(server, await call) == NEW
    else:
        with pytest.raises(RateLimited):
            await call


@pytest.mark.parametrize("kind", ["read", "write"])
@setters
async def test_limit_that_does_not_fit(server: Server, registrar: Registrar, kind: Any) -> None:
    """A provider's delay that does not fit is passed on at once."""
    server.fault(limited(3600), kind)
    with pytest.raises(RateLimited) as caught:
        await in_time(registrar.set_nameservers(server.token, DOMAIN, NEW), 3)
    assert caught.value.retry_after_seconds == (3600 if server.limit_has_delay else 60)
    assert len(server.seen if kind == "read" else server.writes) == 1
    assert server.domains[DOMAIN].nameservers == list(OLD)


@busy
async def test_provider_that_is_busy_for_a_moment(server: Server, registrar: Registrar) -> None:
    """What is refused because another request is under way is sent again while there is time."""
    server.instant = True
    server.fault(_on_the_change(server, reply(server.occupied())), "write", times=1)
    server.fault(_on_the_change(server, reply(server.occupied())), "write", times=1)
    assert await registrar.set_nameservers(server.token, DOMAIN, NEW) == Applied(NEW)


@busy
async def test_provider_that_stays_busy(server: Server, registrar: Registrar) -> None:
    """When the time is over that is told as a limit, with a delay: it was not refused for good, nor is it unclear."""
    server.fault(_on_the_change(server, reply(server.occupied())), "write")
    with pytest.raises(RateLimited) as caught:
        await in_time(registrar.set_nameservers(server.token, DOMAIN, NEW, within=3), 3)
    assert (caught.value.retry_after_seconds or 0) >= 5
    assert len(_changes(server)) > 1
    assert server.domains[DOMAIN].nameservers == list(OLD)


# --- bad replies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_when_reading(server: Server, registrar: Registrar, what: str) -> None:
    """A reply that cannot be understood is no success, and says nothing against the credential or the domain."""
    server.fault(reply(NONSENSE[what]))
    with pytest.raises(Unavailable):
        await in_time(registrar.validate(server.token, DOMAIN, within=SHORT), SHORT)


@pytest.mark.parametrize("what", NONSENSE)
@setters
async def test_nonsense_when_writing(server: Server, registrar: Registrar, what: str) -> None:
    """A change that is answered with nonsense is told as unclear."""
    server.fault(_on_the_change(server, reply(NONSENSE[what])), "write")
    with pytest.raises(OutcomeUnclear):
        await in_time(registrar.set_nameservers(server.token, DOMAIN, NEW, within=1.2), 1.2)


@pytest.mark.parametrize("fault", [silent, drip])
async def test_slow_provider(server: Server, registrar: Registrar, fault: Callable[..., bool]) -> None:
    """A call ends in time, however slow the provider is."""
    server.fault(fault)
    with pytest.raises(Unavailable):
        await in_time(registrar.validate(server.token, DOMAIN, within=SHORT), SHORT)


async def test_others_go_on_meanwhile(server: Server, registrar: Registrar) -> None:
    """A call that waits for the provider holds up nobody: all callers share one event loop."""
    server.fault(silent)
    waiting = asyncio.ensure_future(registrar.validate(server.token, DOMAIN, within=SHORT))
    turns = 0
    while not waiting.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert isinstance(waiting.exception(), Unavailable)
    assert turns > 5


async def test_provider_that_fails_at_first(server: Server, registrar: Registrar) -> None:
    """Reading is tried again while there is time."""
    server.fault(reply(Answer(503)), times=1)
    server.fault(drop, times=1)
    assert (await registrar.validate(server.token, DOMAIN)).nameservers == OLD


async def test_provider_that_is_away(server: Server, registrar: Registrar) -> None:
    """A provider that cannot be reached is told as such; a change was surely not made then."""
    server.stop()
    with pytest.raises(Unavailable):
        await in_time(registrar.validate(server.token, DOMAIN, within=SHORT), SHORT)
    if server.about.sets_nameservers:
        with pytest.raises(Unavailable):
            await in_time(registrar.set_nameservers(server.token, DOMAIN, NEW, within=SHORT), SHORT)


async def test_redirect(server: Server, registrar: Registrar) -> None:
    """No redirect is followed: it would carry the credential elsewhere."""
    trap = type(server)()
    try:
        where = Answer(307, b"", {"Location": f"{trap.url}/elsewhere"})
        server.fault(reply(where))
        with pytest.raises(RegistrarError):
            await registrar.validate(server.token, DOMAIN, within=SHORT)
        assert not trap.seen
    finally:
        trap.stop()


async def test_cookie(server: Server, registrar: Registrar) -> None:
    """A provider's cookie is not sent back: it may belong to another customer's session."""
    for _ in range(2):
        await registrar.get_nameservers(server.token, DOMAIN)
    assert all("cookie" not in seen.headers for seen in server.seen)


async def test_many_at_once(server: Server, registrar: Registrar) -> None:
    """Calls may run at the same time, more than there are connections."""
    found = await asyncio.gather(*(registrar.get_nameservers(server.token, DOMAIN) for _ in range(20)))
    assert set(found) == {OLD}


# --- abilities ----------------------------------------------------------------------------------------


def test_abilities(server: Server, registrar: Registrar) -> None:
    """What an adapter tells of its abilities is what it can."""
    about = registrar.about
    assert server.token not in repr(about)
    assert about.reads_ds == isinstance(registrar, ReadsDs)
    assert about.sets_ds == isinstance(registrar, SetsDs)
    assert not about.sets_ds or about.reads_ds
    assert isinstance(registrar, Follows) <= about.asynchronous
    assert about.settles_within > 0
    assert all((about.name, about.title, about.token_form, about.propagation))
    assert about.token_url.startswith("https://")


@followed
async def test_pending_change(server: Server, registrar: Registrar) -> None:
    """A pending change can be followed until it is done."""
    assert isinstance(registrar, Follows)
    change = await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert isinstance(change, Pending)
    assert change.operation is not None
    assert not (await registrar.progress(server.token, DOMAIN, change.operation)).done
    server.begin()
    assert await registrar.get_nameservers(server.token, DOMAIN) == OLD, "not done before it is done"
    assert (await registrar.validate(server.token, DOMAIN)).nameservers == OLD
    assert not (await registrar.progress(server.token, DOMAIN, change.operation)).done
    server.settle()
    progress = await registrar.progress(server.token, DOMAIN, change.operation)
    assert (progress.done, progress.failed) == (True, None)
    assert await registrar.get_nameservers(server.token, DOMAIN) == NEW


@ds_readers
async def test_ds_is_none(server: Server, registrar: Registrar) -> None:
    """A domain without DS has none."""
    assert isinstance(registrar, ReadsDs)
    server.read_only = True
    assert await registrar.get_ds(server.token, DOMAIN) == ()


@pytest.mark.parametrize("what", NONSENSE)
@ds_readers
async def test_nonsense_for_ds(server: Server, registrar: Registrar, what: str) -> None:
    """A reply that cannot be understood does not mean that there is no DS."""
    assert isinstance(registrar, ReadsDs)
    server.fault(reply(NONSENSE[what]))
    with pytest.raises(Unavailable):
        await in_time(registrar.get_ds(server.token, DOMAIN, within=SHORT), SHORT)


@ds_setters
async def test_ds_is_set(server: Server, registrar: Registrar) -> None:
    """The DS become exactly the wanted ones: one, two, another one, none."""
    assert isinstance(registrar, SetsDs)
    one, two, three = server.some_ds
    for wanted in ((one,), (one, two), (three,), ()):
        await registrar.set_ds(server.token, DOMAIN, wanted)
        server.settle()
        found = await registrar.get_ds(server.token, DOMAIN)
        assert sorted(ds.rdata for ds in found) == sorted(ds.rdata for ds in wanted)
        before = len(server.writes)
        await registrar.set_ds(server.token, DOMAIN, wanted)
        assert len(server.writes) == before, "nothing differed"


@glue_setters
async def test_glue(server: Server, registrar: Registrar) -> None:
    """The addresses of a nameserver inside the domain are set, changed and left as they are; the rest stays."""
    assert isinstance(registrar, SetsGlue)
    server.instant = True
    host, before = "ns1.example.com", list(server.domains["example.com"].nameservers)
    for addresses in (["192.0.2.1"], ["192.0.2.2"], ["192.0.2.2"]):
        assert await registrar.set_glue(server.token, "example.com", host, addresses) is None
        assert server.glue[host] == addresses
    assert list(server.domains["example.com"].nameservers) == before
    host, both = "ns2.example.com", ["192.0.2.3", "2001:db8::3"]
    try:
        await registrar.set_glue(server.token, "example.com", host, both)
    except NotSupported as failure:
        told = failure.detail
    else:
        told = host
    assert host in told
    assert server.glue.get(host, both) == both


@glue_setters
async def test_glue_whose_reply_is_lost(server: Server, registrar: Registrar) -> None:
    """The same may be sent again: in the end the addresses are there."""
    assert isinstance(registrar, SetsGlue)
    server.instant = True
    server.fault(lose_reply, "write", 1)
    with contextlib.suppress(Unavailable, OutcomeUnclear):
        await registrar.set_glue(server.token, "example.com", "ns1.example.com", ["192.0.2.1"])
    assert await registrar.set_glue(server.token, "example.com", "ns1.example.com", ["192.0.2.1"]) is None
    assert server.glue["ns1.example.com"] == ["192.0.2.1"]
