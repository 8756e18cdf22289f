"""The database: connections that read, and others for what changes something."""

from collections.abc import Callable

from pdm_service.store.sessions import DEADLINE_SECONDS, LEAST_SECONDS, Sessions
from pdm_service.store.writing import Writing

__all__ = ["DEADLINE_SECONDS", "LEAST_SECONDS", "Database"]

_WRITING_SHARE = 2
"""One of so many connections is for writes: those that wait for a standby must leave room for others."""


class Database(Sessions):
    """The connections that read; whatever changes something has those of `writing`."""

    def __init__(
        self,
        database_url: str,
        connections: int,
        on_failure: Callable[[], None] = lambda: None,
        **settings: str,
    ) -> None:
        """Share `connections` between both; `on_failure` is called each time PostgreSQL does not answer."""
        writing = max(1, connections // _WRITING_SHARE)
        super().__init__(database_url, max(1, connections - writing), on_failure, settings)
        self.writing = Writing(database_url, writing, on_failure, settings, self)

    async def open(self) -> None:
        """Make the pools usable; connects to nothing yet."""
        await super().open()
        await self.writing.open()

    async def close(self) -> None:
        """Close all connections."""
        await self.writing.close()
        await super().close()

    def connections(self) -> tuple[int, int]:
        """Return how many connections are lent, and how many are not."""
        pairs = super().connections(), self.writing.connections()
        return sum(used for used, _ in pairs), sum(idle for _, idle in pairs)
