"""PostgreSQL away for one service: its database under another name for a while."""

import asyncio
import contextlib
from collections.abc import Iterator

import asyncpg

from pdm_service.dev.servers import Postgres
from tests.eventually import eventually


@contextlib.contextmanager
def away(postgres: Postgres, database_url: str) -> Iterator[None]:
    """Have a database away while the block runs."""
    database = database_url.rpartition("/")[2]
    _rename(postgres, database, f"{database}_away")
    try:
        yield
    finally:
        _rename(postgres, f"{database}_away", database)


def _rename(postgres: Postgres, before: str, after: str) -> None:
    async def run() -> bool:
        connection = await asyncpg.connect(postgres.dsn("postgres"))
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", before
            )
            await connection.execute(f"ALTER DATABASE {before} RENAME TO {after}")
        except asyncpg.ObjectInUseError:
            return False
        finally:
            await connection.close()
        return True

    eventually(lambda: asyncio.run(run()), 10)
