"""Taken names in memory: found by what they look like, as of one moment, and small."""

import tracemalloc
from dataclasses import dataclass
from math import inf

import pytest

from pdm_service.model.allocation import State
from pdm_service.model.standing import Question, Standing, Taken, TakenNames, standing
from pdm_service.names.policy import skeleton

POOL = "pool.test"
FREE = Standing(None)
MEGABYTES_OF_100_000 = 40


def held(label: str = "acme", state: State | None = State.ACTIVE, until: float = inf, pool: str = POOL) -> Taken:
    return Taken(label, pool, state, "client", "team", until)


def asked(label: str = "acme", owner: str = "other", tenant: str | None = None, pool: str = POOL) -> Question:
    return Question(f"{label}.{pool}", pool, label, owner, tenant)


def memory(*names: Taken, at: float = 0.0) -> TakenNames:
    found = TakenNames()
    for one in names:
        found.add(skeleton(one.subdomain), one)
    found.at = at
    return found


@pytest.mark.parametrize(
    ("names", "question", "found"),
    [
        ([], asked(), FREE),
        ([held()], asked(), Standing(State.ACTIVE)),
        ([held()], asked(owner="client", tenant="team"), Standing(State.ACTIVE)),
        ([held(state=None)], asked(), Standing(None, quarantined=True)),
        ([held(state=None)], asked(owner="client", tenant="team"), FREE),
        ([held(state=None)], asked(owner="client", tenant="rival"), Standing(None, quarantined=True)),
        ([held(state=None), held()], asked(), Standing(State.ACTIVE, quarantined=True)),
        ([held()], asked("acrne"), Standing(None, resembles=True)),
        ([held()], asked("acrne", "client", "team"), FREE),
        ([held()], asked("acrne", "client", None), Standing(None, resembles=True)),
        ([held(pool="other.test")], asked(), FREE),
        ([held(pool="other.test")], asked("acrne"), FREE),
        ([held(pool="sub.pool.test")], asked("acrne"), FREE),
        ([held(), held("acrne"), held("ac-me", pool="other.test")], asked("a-cme"), Standing(None, resembles=True)),
    ],
)
def test_standing(names: list[Taken], question: Question, found: Standing) -> None:
    """Its allocation, or its quarantine for another, stands in the way of a name; what looks like it resembles it."""
    assert standing(question, memory(*names).alike(skeleton(question.subdomain))) == found


def test_what_ends() -> None:
    """A name is taken until its moment has come, alone or beside others, and may come back."""
    names = memory(held(until=10.0), at=9.9)
    assert names.alike("acme") == (held(until=10.0),)
    names.at = 10.0
    assert names.alike("acme") == ()
    names.add("acme", held("acrne"))
    assert names.alike("acme") == (held("acrne"),)
    names.replace("acme", "acme", POOL, [held(until=20.0)])
    assert set(names.alike("acme")) == {held("acrne"), held(until=20.0)}


def test_replacing() -> None:
    """What is known of a name gives way to what is known now; the names that look like it stay."""
    names = memory(held(), held("acrne"), held(pool="other.test"))
    names.replace("acme", "acme", POOL, [held(state=State.RELEASING), held(state=None)])
    assert set(names.alike("acme")) == {
        held("acrne"), held(pool="other.test"), held(state=State.RELEASING), held(state=None)
    }  # fmt: skip
    for label, pool in (("acme", POOL), ("acrne", POOL), ("acme", "other.test")):
        names.replace("acme", label, pool, [])
    assert (names.alike("acme"), len(names)) == ((), 0)
    names.replace("acme", "acme", "nobodys.test", [])
    names.add("acme", held())
    names.clear()
    assert (names.alike("acme"), len(names)) == ((), 0)


@dataclass
class Row:
    """A row as the database gives it: nothing in it is shared with another one."""

    number: int

    def taken(self) -> tuple[str, Taken]:
        label = f"n{self.number:012}"
        return skeleton(label), Taken(label, POOL, State.RESERVED, "client", f"tenant-{self.number}", self.number + 0.5)


def test_memory_of_100_000_names() -> None:
    """So many names, each with a tenant and an end of its own, take no more than they may."""
    tracemalloc.start()
    try:
        names = TakenNames()
        for number in range(100_000):
            names.add(*Row(number).taken())
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(names) == 100_000
    assert used / 1e6 < MEGABYTES_OF_100_000
