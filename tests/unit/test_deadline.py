"""The deadline of a request: what a step may take is the least of its own time and what the request has left."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic

import pytest

from pdm_service import deadline
from pdm_service.deadline import ANSWER_SECONDS, REFUSE_SECONDS, begin, left


def request(step: Callable[[], float], age: float = 0) -> float:
    """What a step finds in a request that began so many seconds ago."""

    def run() -> float:
        begin()
        if age:
            deadline._started.set(monotonic() - age)
        return step()

    return copy_context().run(run)


def test_work_in_the_background_has_none() -> None:
    """Outside a request a step has its own time, whole."""
    assert (left(3), left(1000), left(1000, of=1)) == (3, 1000, 1000)


def test_a_step_has_its_own_time() -> None:
    """In a request a step that fits in has its own time."""
    assert request(lambda: left(3)) == 3


def test_no_step_has_more_than_the_request() -> None:
    """A step that takes longer than the request may ends with it."""
    assert ANSWER_SECONDS - 1 < request(lambda: left(1000)) <= ANSWER_SECONDS
    assert REFUSE_SECONDS - 1 < request(lambda: left(1000, of=REFUSE_SECONDS)) <= REFUSE_SECONDS


@pytest.mark.parametrize(
    ("age", "of", "expected"),
    [
        (10, ANSWER_SECONDS, ANSWER_SECONDS - 10), (ANSWER_SECONDS, ANSWER_SECONDS, 0), (20, ANSWER_SECONDS, ANSWER_SECONDS - 20),
        (3, REFUSE_SECONDS, REFUSE_SECONDS - 3), (10, REFUSE_SECONDS, REFUSE_SECONDS - 10),
    ],
)  # fmt: skip
def test_what_is_left(age: float, of: float, expected: float) -> None:
    """What is left shrinks with the request's age, of its whole time or of a part; once over it is less than nothing."""
    assert request(lambda: left(1000, of=of), age) == pytest.approx(expected, abs=0.5)


def test_the_next_request_has_its_own() -> None:
    """A request that begins in the task of an earlier one, as on a connection that is kept, begins anew."""

    def both() -> float:
        begin()
        return left(1000)

    assert request(both, 10) > ANSWER_SECONDS - 1


async def test_requests_at_once_have_one_each() -> None:
    """A task that is started by a request has its deadline; requests beside it have their own, and others none."""

    async def serving(age: float) -> float:
        begin()
        deadline._started.set(monotonic() - age)
        return await asyncio.create_task(step())

    async def step() -> float:
        await asyncio.sleep(0)
        return left(1000)

    old, young, none = await asyncio.gather(serving(10), serving(0), step())
    assert old == pytest.approx(ANSWER_SECONDS - 10, abs=0.5)
    assert young == pytest.approx(ANSWER_SECONDS, abs=0.5)
    assert none == left(1000) == 1000
