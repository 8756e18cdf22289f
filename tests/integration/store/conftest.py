"""A store for each test that asks for one."""

from collections.abc import AsyncIterator

import pytest

from pdm_service.store.database import Database
from tests.store import Store


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """All parts of the store, on a database of their own."""
    database = Database(database_url, 4)
    await database.open()
    yield Store(database)
    await database.close()
