"""Dynadot as a Registrar.

1. A credential without a secret goes to api3, one with a secret to REST v2.
2. A key has no scopes: what works for reading works for everything.
3. Dynadot takes one request at a time for each account: requests with one key wait for each other here.
   Other processes with the same key meet "busy", which is reported as a limit.
4. DS are added one by one, and removed only all together. What is missing is added first, so that a DS that
   Dynadot does not take leaves everything as it was; if one has to go, the set is then without DS for a
   moment, which is insecure, not bogus. What Dynadot refuses then has those of before put back.
5. A DS replaces the one with its key tag, so that two of one tag cannot be had.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar, Protocol
from weakref import WeakValueDictionary

from adapters.base import (
    SECONDS,
    About,
    Change,
    Ds,
    DsRdata,
    InvalidCredential,
    NotSupported,
    OutcomeUnclear,
    Pending,
    RateLimited,
    Registrar,
    RegistrarError,
    SetsDs,
    SetsGlue,
    Unavailable,
    Validation,
    wanted,
)
from adapters.change import set_nameservers, settle
from adapters.dynadot import words
from adapters.dynadot.api3 import Api3
from adapters.dynadot.rest import Rest
from adapters.dynadot.signature import Key
from adapters.dynadot.state import State
from adapters.http import Http, deadline

BASE_URL = "https://api.dynadot.com"
_POLL_SECONDS = 60
_DEFAULT_DELAY = 60
"""What a limit is told with that comes without a delay."""
_IN_PART = "Dynadot made only a part of the change of DS; check them, and set them again"


class Api(Protocol):
    """What both of Dynadot's APIs can."""

    async def state(self, domain: str) -> State:
        """Return a domain of the account."""
        ...

    async def set_nameservers(self, domain: str, hosts: tuple[str, ...]) -> bool:
        """Send the set; False where it was taken, but may not be made yet."""
        ...

    async def hosts(self) -> dict[str, str]:
        """Return the nameservers that the account knows, and what each is called in `set_addresses`."""
        ...

    async def register_host(self, host: str, address: str) -> None:
        """Register a nameserver inside a domain of the account, with one address."""
        ...

    async def set_addresses(self, called: str, addresses: Sequence[str]) -> None:
        """Replace a nameserver's addresses."""
        ...

    async def get_ds(self, domain: str) -> tuple[Ds, ...]:
        """Return all DS."""
        ...

    async def add_ds(self, domain: str, ds: Ds) -> None:
        """Add one DS."""
        ...

    async def clear_ds(self, domain: str) -> None:
        """Remove all DS."""
        ...


class Dynadot:
    """Domains registered with Dynadot."""

    about: ClassVar[About] = About(
        name="dynadot",
        title="Dynadot",
        token_form="apiKey[:apiSecret]",  # noqa: S106 - the form, not a token
        token_url="https://www.dynadot.com/account/domain/setting/api.html",  # noqa: S106
        sets_nameservers=True,
        tells_permission=True,
        reads_ds=True,
        sets_ds=True,
        asynchronous=True,
        settles_within=3600,
        propagation="minutes at the registry; resolvers may keep the old nameservers for up to 48 hours",
        notes=(
            "A key can do everything with the account, purchases included; Dynadot has no lesser ones.",
            "With the secret, the newer API is used, which keeps the key out of addresses.",
        ),
    )

    def __init__(self, http: Http, url: str = BASE_URL) -> None:
        """`url` is the root that /api3.json and /restful are below."""
        self._http = http
        self._url = url
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def validate(self, credential: str, domain: str, *, within: float = SECONDS) -> Validation:
        """See Registrar."""
        async with self._turn(credential, within) as api:
            found = await api.state(domain)
        obstacle = found.obstacle
        return Validation(
            nameservers=found.nameservers,
            can_set_nameservers=obstacle is None,
            obstacle=obstacle,
            warnings=found.warnings if obstacle is None else (obstacle.detail, *found.warnings),
        )

    async def get_nameservers(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[str, ...]:
        """See Registrar."""
        return (await self.validate(credential, domain, within=within)).nameservers

    async def set_nameservers(
        self, credential: str, domain: str, nameservers: Sequence[str], *, within: float = SECONDS
    ) -> Change:
        """See Registrar."""
        hosts = wanted(nameservers)

        async def look() -> tuple[tuple[str, ...], RegistrarError | None]:
            found = await api.state(domain)
            return found.nameservers, found.obstacle

        async def write() -> Pending | None:
            made = await api.set_nameservers(domain, hosts)
            return None if made else Pending(None, _POLL_SECONDS)

        async with self._turn(credential, within) as api:
            return await set_nameservers(hosts, look, write)

    async def set_glue(
        self, credential: str, domain: str, host: str, addresses: Sequence[str], *, within: float = SECONDS
    ) -> None:
        """See SetsGlue; Dynadot tells no addresses, so that they are set again where the host is known."""
        async with self._turn(credential, within) as api:
            try:
                if host not in (there := await api.hosts()):
                    await api.register_host(host, addresses[0])
                    if not addresses[1:]:
                        return
                    there = await api.hosts()
                # Not listed after all: Dynadot says so of the empty id.
                await api.set_addresses(there.get(host, ""), addresses)
            except OutcomeUnclear:
                # The domain has not been touched, and the same may be sent again.
                raise Unavailable("Dynadot did not answer; the nameservers were not changed") from None

    async def get_ds(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[Ds, ...]:
        """See ReadsDs."""
        async with self._turn(credential, within) as api:
            return await api.get_ds(domain)

    async def set_ds(
        self, credential: str, domain: str, ds: Sequence[Ds], *, within: float = SECONDS
    ) -> Pending | None:
        """See SetsDs; raises NotSupported for two DS of one key tag."""
        if len({one.key_tag for one in ds}) < len({one.rdata for one in ds}):
            raise NotSupported("Dynadot keeps one DS for each key tag; leave all but one digest of a key out")
        until = deadline(within)
        async with self._turn(credential, within) as api:
            there: tuple[Ds, ...] = ()

            async def look() -> frozenset[DsRdata]:
                nonlocal there
                there = await api.get_ds(domain)
                return frozenset(one.rdata for one in there)

            async def write() -> None:
                await _change_ds(api, domain, there, ds, until)

            return await settle(frozenset(one.rdata for one in ds), look, write)

    @asynccontextmanager
    async def _turn(self, credential: str, within: float) -> AsyncIterator[Api]:
        """Lend the API when no other call with this key is under way; raises InvalidCredential, Unavailable."""
        key, until = _key(credential), deadline(within)
        lock = self._turns.setdefault(hashlib.sha256(key.key.encode()).digest(), asyncio.Lock())
        try:
            async with asyncio.timeout_at(until):
                await lock.acquire()
        except TimeoutError:
            raise Unavailable("other requests with this Dynadot key are under way", sent=False) from None
        try:
            yield (Api3 if key.secret is None else Rest)(self._http, self._url, key, until)
        finally:
            lock.release()


async def _change_ds(api: Api, domain: str, there: Sequence[Ds], ds: Sequence[Ds], until: float) -> None:
    """Add what is missing; if something has to go, remove all, and add the wanted ones, or those of before."""
    before, wanted = {one.rdata for one in there}, {one.rdata for one in ds}
    changed = False
    for one in ds:
        if one.rdata not in before:
            await _step(api.add_ds(domain, one), after_others=changed)
            changed = True
    if before <= wanted:
        return
    await _step(api.clear_ds(domain), after_others=changed)
    for number, one in enumerate(ds):
        try:
            await _insisting(partial(api.add_ds, domain, one), until)
        except OutcomeUnclear:
            raise
        except RegistrarError:
            if not await _put_back(api, domain, there, until) or number:
                raise OutcomeUnclear(_IN_PART) from None
            raise


async def _step(step: Awaitable[None], *, after_others: bool) -> None:
    try:
        await step
    except RegistrarError:
        if after_others:
            raise OutcomeUnclear(_IN_PART) from None
        raise


async def _insisting(step: Callable[[], Awaitable[None]], until: float) -> None:
    """Take a step before which the domain is without DS; what is refused for its rate alone is tried again."""
    try:
        await step()
    except RateLimited as failure:
        if (failure.retry_after_seconds or 0) > _DEFAULT_DELAY or deadline(words.PACE) > until:
            raise
        await asyncio.sleep(words.PACE)
        await step()


async def _put_back(api: Api, domain: str, there: Sequence[Ds], until: float) -> bool:
    """Return whether the DS of before could be set again."""
    try:
        for one in there:
            await _insisting(partial(api.add_ds, domain, one), until)
    except RegistrarError:
        return False
    return True


def _key(text: str) -> Key:
    found = re.fullmatch(r"([!-9;-~]{1,200})(?::([!-9;-~]{1,200}))?", text.strip())
    if found is None:
        raise InvalidCredential("a Dynadot token is apiKey, or apiKey:apiSecret")
    return Key(found[1], found[2])


_: type[Registrar] = Dynadot
__: type[SetsDs] = Dynadot
___: type[SetsGlue] = Dynadot
