"""Batching: what is asked at the same time is asked together, and each asker hears its own answer."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from pdm_service import deadline
from pdm_service.store.batching import Batched

pytestmark = pytest.mark.timeout(10)
caller: ContextVar[str] = ContextVar("caller", default="nobody")


class Asked:
    """Answers questions with their double, each call once it may; notes what was asked together."""

    def __init__(self, most: int = 10) -> None:
        self.calls: list[list[int]] = []
        self.callers: list[str] = []
        self.lefts: list[float] = []
        self._begun = asyncio.Queue[None]()
        self.may = asyncio.Semaphore(0)
        self.ask = Batched(self._answer, most)

    async def _answer(self, questions: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(questions))
        self.callers.append(caller.get())
        self.lefts.append(deadline.left(100))
        self._begun.put_nowait(None)
        await self.may.acquire()
        if 13 in questions:
            raise ConnectionError
        return [KeyError(one) if one < 0 else 2 * one for one in questions]

    def starting(self, *questions: int) -> list[asyncio.Task[int]]:
        return [asyncio.ensure_future(self.ask(one)) for one in questions]

    async def begins(self) -> None:
        """Wait until a call has begun."""
        await asyncio.wait_for(self._begun.get(), 5)

    def let(self, calls: int) -> None:
        for _ in range(calls):
            self.may.release()


async def test_a_lone_question_is_asked_at_once() -> None:
    """A question while nothing is under way makes a call of its own, and so does the next one after that."""
    asked = Asked()
    asked.let(2)
    assert [await asked.ask(1), await asked.ask(2)] == [2, 4]
    assert asked.calls == [[1], [2]]


async def test_what_comes_meanwhile_is_gathered() -> None:
    """Questions that come while a call is under way go into the next one together, in their order."""
    asked = Asked()
    first = asked.starting(1)
    await asked.begins()
    others = asked.starting(4, 2, 3)
    await asyncio.sleep(0)
    asked.let(2)
    assert await asyncio.gather(*first, *others) == [2, 8, 4, 6]
    assert asked.calls == [[1], [4, 2, 3]]


async def test_an_answer_is_no_older_than_its_question() -> None:
    """A question that is under way already is asked once more for who comes later."""
    asked = Asked()
    first = asked.starting(1)
    await asked.begins()
    again = asked.starting(1)
    asked.let(2)
    assert await asyncio.gather(*first, *again) == [2, 2]
    assert asked.calls == [[1], [1]]


async def test_at_most_so_many_at_once() -> None:
    """A call has at most as many questions as it may; the others wait for the next one, the first come first."""
    asked = Asked(most=2)
    tasks = asked.starting(1, 2, 3, 4, 5)
    asked.let(3)
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert asked.calls == [[1, 2], [3, 4], [5]]


async def test_an_exception_for_one_asker() -> None:
    """An exception among the answers is raised to its asker alone."""
    asked = Asked()
    tasks = asked.starting(1, -1, 2)
    asked.let(1)
    with pytest.raises(KeyError):
        await tasks[1]
    assert [await tasks[0], await tasks[2]] == [2, 4]


async def test_an_exception_of_the_call() -> None:
    """When asking itself fails all hear it, also those who wait for the next call; whoever comes then is served."""
    asked = Asked()
    first = asked.starting(13)
    await asked.begins()
    others = asked.starting(1, 2)
    await asyncio.sleep(0)
    asked.let(1)
    for task in first + others:
        with pytest.raises(ConnectionError):
            await task
    assert asked.calls == [[13]]
    asked.let(1)
    assert await asked.ask(3) == 6


async def test_an_asker_that_left() -> None:
    """Who gives up waiting takes nothing from the others: the call goes on."""
    asked = Asked()
    first, second = asked.starting(1, 2)
    await asked.begins()
    first.cancel()
    await asyncio.sleep(0)
    asked.let(1)
    assert await second == 4
    assert first.cancelled()


@pytest.mark.parametrize("question", [13, -1])
async def test_an_asker_that_left_before_a_failure(question: int) -> None:
    """Who gives up waiting does not hear of a failure either; who comes after it is served."""
    asked = Asked()
    (first,) = asked.starting(question)
    await asked.begins()
    first.cancel()
    asked.let(2)
    with pytest.raises(asyncio.CancelledError):
        await first
    if (call := asked.ask._asking) is not None:
        await call
    assert await asked.ask(2) == 4


async def test_a_call_belongs_to_no_request() -> None:
    """A call does not run in the context of whoever asked first: it serves others as well."""
    asked = Asked()
    asked.let(1)
    caller.set("first")
    assert await asked.ask(1) == 2
    assert asked.callers == ["nobody"]


async def test_one_request_s_deadline_does_not_cut_another_s() -> None:
    """A request that has hardly any time left makes a call that has the time of any."""
    asked = Asked()
    asked.let(1)
    deadline.begin()
    assert deadline.left(100) <= deadline.ANSWER_SECONDS
    await asked.ask(1)
    assert asked.lefts == [100]
