"""What is forgotten in time: old entries of the audit trail, names whose quarantine is over."""

import asyncio
from collections.abc import Callable

import asyncpg

from tests.eventually import eventually
from tests.service import Service, name


def counted(service: Service, statement: str) -> int:
    async def run() -> int:
        connection = await asyncpg.connect(service.environment["PDM_DATABASE_URL"])
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


def test_what_is_old_is_forgotten(new_service: Callable[..., Service]) -> None:
    """Entries older than the setting go, younger ones stay; so with names that are kept for their last holder."""
    service = new_service(PDM_EVENTS_RETENTION="2d")
    label = name()
    for age, fqdn in (("3 days", "old.test"), ("1 day", "young.test")):
        service.execute(
            "INSERT INTO events (at, fqdn, allocation_id, action, actor)"
            f" VALUES (now() - interval '{age}', '{fqdn}', gen_random_uuid(), 'reserved', 'x')"
        )
        service.execute(
            "INSERT INTO quarantine (fqdn, pool_domain, subdomain, owner, until)"
            f" VALUES ('{fqdn}', 'test', '{label}', 'x', now() + interval '2 days' - interval '{age}')"
        )
    service.start()
    for table in ("events", "quarantine"):
        eventually(lambda table=table: counted(service, f"SELECT count(*) FROM {table} WHERE fqdn = 'old.test'") == 0)
        assert counted(service, f"SELECT count(*) FROM {table} WHERE fqdn = 'young.test'") == 1
