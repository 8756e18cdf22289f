"""Fair shares: whose turn is next, and how many a tenant and a domain may hold."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from pdm_service import shares
from pdm_service.shares import Line, Shares, Whose


def a(domain: str = "a.zz", *, waits: bool = True) -> Whose:
    return Whose("a", domain, waits)


def b(domain: str = "b.zz", *, waits: bool = True) -> Whose:
    return Whose("b", domain, waits)


def filled(size: int, *whose: Whose) -> Line[str]:
    """A line of which these hold all that they may."""
    line: Line[str] = Line(size)
    for one in whose:
        while line.take(one):
            pass
    return line


@pytest.mark.parametrize("size", [1, 2, 8, 16, 24, 200])
def test_one_is_left_for_who_holds_none(size: int) -> None:
    """However many tenants take all that they may, the next one gets a turn, until there are more tenants than turns."""
    line: Line[str] = Line(size)
    tenants = 0
    while line.take(Whose(f"t{tenants}", "0.zz", waits=True)):
        for domain in range(size):
            while line.take(Whose(f"t{tenants}", f"{domain}.zz", waits=True)):
                pass
        tenants += 1
    assert tenants >= min(size, 4)


def test_shares_of_one() -> None:
    """A tenant alone holds half of all, a domain alone a third; what is given back may be taken again."""
    held = sum(line.take(a(f"{number}.zz")) for line in [Line[str](200)] for number in range(200))
    assert held == 100
    line: Line[str] = Line(200)
    assert sum(line.take(a()) for _ in range(200)) == 67
    line.give_back(a())
    assert line.take(a())
    assert not line.take(a())


def test_who_waits_is_next() -> None:
    """A caller who waits has a turn before the background, though it came later, of whichever tenant."""
    line = filled(2, a(), b())
    line.wait(a("later.zz", waits=False), "background")
    line.wait(a("now.zz"), "caller")
    line.give_back(a())
    assert line.next() == (a("now.zz"), "caller")
    assert line.next() is None
    line.give_back(a("now.zz"))
    assert line.next() == (a("later.zz", waits=False), "background")


def test_in_turn_by_tenant_then_by_domain() -> None:
    """Of many that wait the turns go round the tenants, and within each round its domains."""
    line = filled(1, Whose("x", "x.zz", waits=True))
    for number in range(3):
        line.wait(a("1.zz"), f"a1-{number}")
    line.wait(a("2.zz"), "a2-0")
    line.wait(b(), "b-0")
    line.wait(b(), "b-1")
    order, last = [], Whose("x", "x.zz", waits=True)
    for _ in range(6):
        line.give_back(last)
        found = line.next()
        assert found is not None
        last, ticket = found
        order.append(ticket)
    assert order == ["a1-0", "b-0", "a2-0", "b-1", "a1-1", "a1-2"]


def test_who_leaves_has_no_turn() -> None:
    """Who has left the line is not next; to leave twice does nothing."""
    line = filled(1, Whose("x", "x.zz", waits=True))
    line.wait(a(), "gone")
    line.wait(a(), "stays")
    line.leave(a(), "gone")
    line.leave(a(), "gone")
    line.leave(b(), "never there")
    line.give_back(Whose("x", "x.zz", waits=True))
    assert line.next() == (a(), "stays")


@pytest.mark.parametrize("seed", range(40))
def test_any_order(seed: int) -> None:
    """Whatever happens in whatever order: no turn is lost, none is given twice, and a newcomer is not passed by twice."""
    chance = random.Random(seed)
    size = chance.choice([3, 8, 24])
    line: Line[int] = Line(size)
    held: list[Whose] = []
    waiting: dict[int, Whose] = {}
    passed: Counter[int] = Counter()
    for number in range(400):
        one = Whose(chance.choice("abc"), chance.choice(["1.zz", "2.zz"]), chance.random() < 0.5)
        if chance.random() < 0.55:
            if line.take(one):
                held.append(one)
            else:
                line.wait(one, number)
                waiting[number] = one
        elif chance.random() < 0.1 and waiting:
            ticket = chance.choice(list(waiting))
            line.leave(waiting.pop(ticket), ticket)
        elif held:
            line.give_back(held.pop(chance.randrange(len(held))))
            while (following := line.next()) is not None:
                whose, ticket = following
                assert waiting.pop(ticket) == whose
                held.append(whose)
                for other, waits in waiting.items():
                    longer = other < ticket and waits.waits >= whose.waits
                    if longer and (waits.tenant, waits.domain) == (whose.tenant, whose.domain) and waits.waits:
                        passed[other] += 1
        assert len(held) <= size
    assert not passed, "of one tenant's domain who came first goes first"
    for one in held:
        line.give_back(one)
    for tenant in "xyz"[: min(3, size - 1)]:
        assert line.take(Whose(tenant, "1.zz", waits=True))


# --- on the event loop ---------------------------------------------------------------------------------


async def test_whoever_gives_up_leaves_the_line() -> None:
    """A caller that is cancelled while it waits, or in the moment of its turn, takes nothing with it."""
    turns = Shares(1)
    async with AsyncExitStack() as stack:
        shares.begin("x", "x.zz", waits=True)
        await stack.enter_async_context(turns.turn())
        got: list[int] = []

        async def ask(number: int) -> None:
            async with turns.turn():
                got.append(number)

        tasks = [asyncio.create_task(ask(number)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
    tasks[1].cancel()  # its turn has just come
    await asyncio.gather(*tasks, return_exceptions=True)
    assert got == [2, 3]
    async with asyncio.timeout(1), turns.turn():
        pass


async def test_a_flood_beside_one() -> None:
    """While one tenant floods, another's call has its turn at once."""
    turns = Shares(16)
    over = asyncio.Event()

    async def flood(domain: int) -> None:
        shares.begin("flood", f"{domain}.zz", waits=True)
        async with turns.turn():
            await over.wait()

    tasks = [asyncio.create_task(flood(number % 5)) for number in range(200)]
    await asyncio.sleep(0)
    shares.begin("other", "other.zz", waits=True)
    async with asyncio.timeout(1):
        async with turns.turn(), turns.turn():
            pass
    over.set()
    await asyncio.gather(*tasks)
