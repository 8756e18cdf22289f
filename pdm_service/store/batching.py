"""Batching: what is asked at the same time is asked together, one call for all callers of a moment."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batched(Generic[Question, Answer]):
    """Gathers the questions that come while a call is under way into the next call.

    A lone question is asked at once. An answer is never older than its question.
    """

    def __init__(self, ask: Callable[[Sequence[Question]], Awaitable[Sequence[Answer | Exception]]], most: int) -> None:
        """`ask` answers at most `most` questions, in their order; an exception is raised to that asker alone."""
        self._ask = ask
        self._most = most
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self, question: Question) -> Answer:
        """Return the answer, or raise what asking raised."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((question, answer))
        if self._asking is None:
            # Of no request: it serves all who ask, whatever time the first of them has left.
            self._asking = loop.create_task(self._ask_all(), context=Context())
        return await answer

    async def _ask_all(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            found: Sequence[Answer | Exception]
            try:
                found = await self._ask([question for question, _ in asked])
            except Exception as error:  # noqa: BLE001 - each asker gets it
                # Also those who came meanwhile: their wait has been as long as a wait may be.
                asked += self._waiting
                self._waiting = []
                found = [error] * len(asked)
            for (_, answer), value in zip(asked, found, strict=True):
                if answer.done():
                    continue  # its asker has left
                if isinstance(value, Exception):
                    answer.set_exception(value)
                else:
                    answer.set_result(value)
        self._asking = None
