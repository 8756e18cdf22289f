"""Fair shares of what is scarce: questions to others' nameservers, and calls to registrars, that are under way.

They are shared by tenant, then by domain; a caller who waits has a turn before the background. For whom a task works
is said where its work begins, and holds for all tasks that it starts.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Whose(NamedTuple):
    """For whom something is asked."""

    tenant: str
    """A client, and its tenant if it named one."""
    domain: str
    waits: bool
    """Whether a caller waits for it."""


_NOBODY = Whose("", "", waits=True)
_whose: ContextVar[Whose] = ContextVar("whose")


def begin(tenant: str, domain: str, *, waits: bool) -> None:
    """Have what the running task does from now on count as work for a tenant (`whose`), on a domain."""
    _whose.set(Whose(tenant, domain, waits))


def whose(client: str, tenant: str | None = None) -> str:
    """Return what counts as one tenant; the store writes the same into `watches.whose`."""
    return f"{client}/{tenant or ''}"


class Line(Generic[T]):
    """Turns that are taken, and who waits for one. Pure.

    A tenant may hold as many turns as are left for others, a domain half as many: so there is always one for somebody
    who holds none (the dynamic thresholds of Choudhury and Hahne, 1998).
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._held: Counter[str] = Counter()
        self._held_on: Counter[tuple[str, str]] = Counter()
        self._waiting: dict[bool, OrderedDict[str, OrderedDict[str, deque[T]]]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }

    def take(self, one: Whose) -> bool:
        """Take a turn; return whether there was one."""
        if self._held[one.tenant] >= self._free or 2 * self._held_on[one.tenant, one.domain] >= self._free:
            return False
        self._free -= 1
        self._held[one.tenant] += 1
        self._held_on[one.tenant, one.domain] += 1
        return True

    def give_back(self, one: Whose) -> None:
        """Give a turn back."""
        self._free += 1
        self._held -= Counter([one.tenant])
        self._held_on -= Counter([(one.tenant, one.domain)])

    def wait(self, one: Whose, ticket: T) -> None:
        """Stand in line."""
        tenants = self._waiting[one.waits]
        tenants.setdefault(one.tenant, OrderedDict()).setdefault(one.domain, deque()).append(ticket)

    def leave(self, one: Whose, ticket: T) -> None:
        """Leave the line; nothing for who has left already."""
        domains = self._waiting[one.waits].get(one.tenant)
        if domains is not None and ticket in domains.get(one.domain, ()):
            domains[one.domain].remove(ticket)
            self._tidy(one)

    def next(self) -> tuple[Whose, T] | None:
        """Give whoever is next a turn: of those who wait for it first, then the others, each time another tenant."""
        for waits, tenants in self._waiting.items():
            for tenant, domains in tenants.items():
                for domain, tickets in domains.items():
                    one = Whose(tenant, domain, waits)
                    if not self.take(one):
                        continue
                    ticket = tickets.popleft()
                    domains.move_to_end(domain)
                    tenants.move_to_end(tenant)
                    self._tidy(one)
                    return one, ticket
        return None

    def _tidy(self, one: Whose) -> None:
        tenants = self._waiting[one.waits]
        if not tenants[one.tenant][one.domain]:
            del tenants[one.tenant][one.domain]
        if not tenants[one.tenant]:
            del tenants[one.tenant]


class Shares:
    """So many turns at a time."""

    def __init__(self, size: int) -> None:
        self._line: Line[asyncio.Future[None]] = Line(size)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it; whoever stops waiting leaves the line."""
        one = _whose.get(_NOBODY)
        if not self._line.take(one):
            await self._wait(one)
        try:
            yield
        finally:
            self._give_back(one)

    async def _wait(self, one: Whose) -> None:
        ticket = asyncio.get_running_loop().create_future()
        self._line.wait(one, ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self._give_back(one)  # it came in the same moment
            else:
                self._line.leave(one, ticket)
            raise

    def _give_back(self, one: Whose) -> None:
        self._line.give_back(one)
        while (following := self._line.next()) is not None:
            whose_turn, ticket = following
            if ticket.cancelled():
                self._line.give_back(whose_turn)
            else:
                ticket.set_result(None)
