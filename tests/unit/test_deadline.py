"""The deadline of a request: what a step may take is the least of its own time and what the request has left."""

import asyncio
from time import monotonic

import pytest

from pdm_service import deadline
from pdm_service.deadline import ANSWER_SECONDS, REFUSE_SECONDS, left, running


def test_work_in_the_background_has_none() -> None:
    """Outside a request a step has its own time, whole."""
    assert (left(3), left(1000), left(1000, of=1)) == (3, 1000, 1000)


def test_a_step_has_its_own_time() -> None:
    """In a request a step that fits in has its own time."""
    with running():
        assert left(3) == 3


def test_no_step_has_more_than_the_request() -> None:
    """A step that takes longer than the request may ends with it."""
    with running():
        assert ANSWER_SECONDS - 1 < left(1000) <= ANSWER_SECONDS
        assert REFUSE_SECONDS - 1 < left(1000, of=REFUSE_SECONDS) <= REFUSE_SECONDS
    assert left(1000) == 1000


@pytest.mark.parametrize(
    ("age", "of", "expected"),
    [
        (10, ANSWER_SECONDS, ANSWER_SECONDS - 10), (ANSWER_SECONDS, ANSWER_SECONDS, 0), (20, ANSWER_SECONDS, ANSWER_SECONDS - 20),
        (3, REFUSE_SECONDS, REFUSE_SECONDS - 3), (10, REFUSE_SECONDS, REFUSE_SECONDS - 10),
    ],
)  # fmt: skip
def test_what_is_left(age: float, of: float, expected: float) -> None:
    """What is left shrinks with the request's age, of its whole time or of a part; once over it is less than nothing."""
    with running():
        deadline._started.set(monotonic() - age)
        assert left(1000, of=of) == pytest.approx(expected, abs=0.5)


def test_nested() -> None:
    """A request within another, as a test client makes it, has its own time; afterwards the outer one goes on."""
    with running():
        deadline._started.set(monotonic() - 10)
        with running():
            assert left(1000) > ANSWER_SECONDS - 1
        assert left(1000) < ANSWER_SECONDS - 9


def test_it_ends_with_an_exception() -> None:
    """A request that fails leaves no deadline to the next one."""
    with pytest.raises(KeyError), running():
        raise KeyError
    assert left(1000) == 1000


async def test_requests_at_once_have_one_each() -> None:
    """A task that is started by a request has its deadline; requests beside it have their own."""

    async def request(age: float) -> float:
        with running():
            deadline._started.set(monotonic() - age)
            return await asyncio.create_task(step())

    async def step() -> float:
        await asyncio.sleep(0)
        return left(1000)

    old, young = await asyncio.gather(request(10), request(0))
    assert old == pytest.approx(ANSWER_SECONDS - 10, abs=0.5)
    assert young == pytest.approx(ANSWER_SECONDS, abs=0.5)
