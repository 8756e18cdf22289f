"""Who holds a domain in the end: two clients and a stranger claim, prove, let go, commit, in every order.

After each step an observation draws its conclusions, on a real database. What DNS shows is said here; that it is asked
rightly is the matter of tests/byo/test_histories.py.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pdm_service.callers import Actor
from pdm_service.delegations.proofs import Proofs, Seen
from pdm_service.errors import Conflict, OverlapsAllocation
from pdm_service.model.allocation import Claim
from pdm_service.store.claims import BELOW, Wish
from pdm_service.store.database import Database
from tests.store import ADDRESSES, Store

if TYPE_CHECKING:
    from datetime import datetime

AT_ONCE = 4


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """All parts of the store, on a database of their own."""
    database = Database(database_url, AT_ONCE)
    await database.open()
    yield Store(database)
    await database.close()


class Step(NamedTuple):
    who: str
    what: str

    def __repr__(self) -> str:
        return f"{self.who} {self.what}"


History = tuple[Step, ...]
FIRST = {"prove": "claim", "commit": "claim", "agree": "claim", "release": "claim", "let go": "prove"}
"""What each step comes after."""


def orders(steps: tuple[Step, ...], length: int, so_far: History = ()) -> Iterator[History]:
    """All orders of so many of the steps; of two that differ only in who is called A, one."""
    if len(so_far) == length:
        yield so_far
        return
    for step in steps:
        before = FIRST.get(step.what)
        early = before is not None and Step(step.who, before) not in so_far
        if step in so_far or early or (step.who == "B" and not any(one.who == "A" for one in so_far)):
            continue
        yield from orders(steps, length, (*so_far, step))


def of(who: str, *whats: str) -> tuple[Step, ...]:
    return tuple(Step(who, what) for what in whats)


CLIENTS = (*of("A", "claim", "prove", "let go", "commit"), *of("B", "claim", "prove", "let go", "commit"))
STRANGER = of("S", "claim", "commit")
LATER = (*of("A", "release"), *of("B", "release"), *of("world", "leave"))


class Expected:
    """The rule, told in other words than the service has it."""

    def __init__(self) -> None:
        self.holder: str | None = None
        self.outdated = False
        """Whether the delegation has left since the holder got it."""
        self.claims: list[str] = []
        self.committed: set[str] = set()
        self.records: set[str] = set()

    def after(self, step: Step) -> str | None:
        who = step.who
        match step.what:
            case "claim" if self.holder is None or self.outdated:
                self.claims.append(who)
            case "prove":
                self.records.add(who)
            case "let go":
                self.records.discard(who)
            case "commit" if who in self.claims:
                self.committed.add(who)
            case "release" if who == self.holder:
                self.holder, self.outdated = None, False
            case "release" if who in self.claims:
                self.claims.remove(who)
            case "leave":
                self.outdated = self.holder is not None
            case _:
                pass
        for who in self.claims if self.holder is None or self.outdated else ():
            if who in self.committed and who in self.records:
                self.holder, self.outdated, self.claims = who, False, []
                break
        return self.holder


class Told:
    """A history, step by step, as the service lives it."""

    def __init__(self, store: Store, proofs: Proofs, domain: str) -> None:
        self.store, self.proofs, self.domain = store, proofs, domain
        self.records: set[str] = set()
        self.left: datetime | None = None

    async def step(self, step: Step) -> None:
        actor, token = Actor(step.who), f"{step.who} {self.domain}".encode()
        match step.what:
            case "claim":
                try:
                    await self.store.claimed(
                        self.domain,
                        actor,
                        self.left,
                        token=token,
                        challenge=f"{step.who} {self.domain}",
                        above_others=True,
                    )
                except (Conflict, OverlapsAllocation):
                    pass
            case "prove":
                self.records.add(f"{step.who} {self.domain}")
            case "let go":
                self.records.discard(f"{step.who} {self.domain}")
            case "commit" | "agree":
                await self._commit(token, actor, agreed=step.what == "agree")
            case "release":
                await self._release(token, actor)
            case "leave":
                self.left = await self.store.now()
            case _:
                raise AssertionError(step)

    async def _commit(self, token: bytes, actor: Actor, *, agreed: bool) -> None:
        claim = await self.store.claims.find(self.domain, token, None)
        acknowledged = (BELOW,) if agreed else ()
        wish = Wish(addresses=tuple(ADDRESSES), sovereign_fqdn=None, imports=(), acknowledged=acknowledged)
        if claim is not None:
            await self.store.claims.wish(claim.id, wish, actor)

    async def _release(self, token: bytes, actor: Actor) -> None:
        held = await self.store.holdings.of_token(self.domain, token, None)
        if isinstance(held, Claim):
            await self.store.claims.withdraw(held.id, actor)
        elif held is not None:
            await self.store.allocations.release_byo(held.id, None, orphan=False, actor=actor)

    async def observe(self) -> None:
        """Draw the conclusions, and have DNS forget what is on its way out."""

        async def texts() -> frozenset[str]:
            return frozenset(self.records)

        seen = Seen(at=await self.store.now(), texts=texts, delegated=False, outdated=self.left)
        for _ in range(2):
            await self.proofs.conclude(self.domain, seen)
            await self.store.sql(
                "DELETE FROM allocations WHERE state = 'releasing' AND (fqdn = $1 OR fqdn LIKE '%.' || $1)", self.domain
            )

    async def holder(self) -> str | None:
        held = await self.store.allocations.find(self.domain)
        return held.owner if held else None


async def lived(store: Store, histories: list[History]) -> list[tuple[History, int, str | None, str | None]]:
    """Live them all; return where one went otherwise than expected."""
    proofs = Proofs(store.claims, lambda: None)
    wrong: list[tuple[History, int, str | None, str | None]] = []
    waiting = iter(enumerate(histories))

    async def live() -> None:
        for number, history in waiting:
            told, expected = Told(store, proofs, f"h{number}.example"), Expected()
            for place, step in enumerate(history):
                await told.step(step)
                await told.observe()
                holder, due = await told.holder(), expected.after(step)
                if holder != due:
                    wrong.append((history, place, holder, due))
                    break

    await asyncio.gather(*(live() for _ in range(AT_ONCE)))
    return wrong


async def test_all_orders(store: Store) -> None:
    """Whoever first is committed while their record is there has the domain; the stranger, who has none, never."""
    histories = list(orders((*CLIENTS, *STRANGER), 6))
    assert len(histories) > 1000
    assert await lived(store, histories) == []


async def test_orders_with_an_end(store: Store) -> None:
    """The same where holders release, and where the delegation leaves: a holder of before gives way to a proof of now."""
    histories = [one for one in orders((*CLIENTS, *LATER), 7) if any(step in LATER for step in one)]
    chosen = random.Random(20).sample(histories, 1500)
    assert await lived(store, chosen) == []


UPPER_AND_LOWER = (*of("A", "claim", "prove", "commit", "agree"), *of("B", "claim", "prove", "commit"))


def in_the_end(history: History) -> tuple[str | None, str | None]:
    """Who has the upper name, which A wants, and who the lower one, which B wants."""
    upper = lower = False
    seen: set[Step] = set()
    live = {"A": False, "B": False}
    asked: dict[str, str] = {}
    for step in history:
        seen.add(step)
        if step.what == "claim":
            live[step.who] = not (step.who == "B" and upper)
        if step.what in {"commit", "agree"} and live[step.who]:
            asked[step.who] = step.what
        proven = {who: live[who] and who in asked and Step(who, "prove") in seen for who in "AB"}
        if proven["B"] and not upper:
            lower, live["B"] = True, False
        if proven["A"] and (not lower or asked["A"] == "agree"):
            upper, lower = True, False
            live = {"A": False, "B": False}
    return "A" if upper else None, "B" if lower else None


async def test_upper_and_lower(store: Store) -> None:
    """Whoever proves the upper name decides on the lower one, and who proves the lower one on nothing above."""
    proofs = Proofs(store.claims, lambda: None)
    histories = list(orders(UPPER_AND_LOWER, 7))
    wrong = []
    for number, history in enumerate(histories):
        upper = Told(store, proofs, f"u{number}.example")
        lower = Told(store, proofs, f"team.u{number}.example")
        for step in history:
            await (upper if step.who == "A" else lower).step(step)
            for told in (upper, lower):
                await told.observe()
        found = (await upper.holder(), await lower.holder())
        if found != in_the_end(history):
            wrong.append((history, found, in_the_end(history)))
    assert len(histories) > 100
    assert wrong == []


@pytest.mark.parametrize(
    ("history", "holder"),
    [
        ("A claim, A prove, A let go, B claim, B prove, A commit", None),
        ("A claim, A prove, A let go, B claim, B prove, A commit, B commit", "B"),
        ("A claim, A prove, A commit, B claim, B prove, B commit", "A"),
        ("A claim, A prove, A commit, world leave, B claim, B prove, B commit", "B"),
        ("A claim, A prove, A commit, world leave, B claim, B commit", "A"),
        ("A claim, A prove, A commit, A let go, S claim, S commit", "A"),
        ("A claim, S claim, S commit, A prove, A commit", "A"),
    ],
)
async def test_history(store: Store, history: str, holder: str | None) -> None:
    """Who holds the domain in the end, told by hand: it holds the rule above to what was meant."""
    steps = tuple(Step(*one.strip().split(" ", 1)) for one in history.split(","))
    assert await lived(store, [steps]) == []
    expected = Expected()
    assert [expected.after(step) for step in steps][-1] == holder
