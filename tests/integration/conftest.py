"""The tables of one database, as the service has them, and what is really in them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from pdm_service.callers import Actor
from pdm_service.model.allocation import Allocation, Claim, Mode, Proof
from pdm_service.model.tokens import Credentials
from pdm_service.store.allocations import Allocations, Reservation
from pdm_service.store.availability import Availability
from pdm_service.store.claims import Claims, NewClaim, Wish
from pdm_service.store.database import Database
from pdm_service.store.declarations import Declarations
from pdm_service.store.events import Trail
from pdm_service.store.holdings import Holdings
from pdm_service.store.pool_registrations import Registrations
from pdm_service.store.registrar_changes import Changes
from pdm_service.store.watches import Watches
from pdm_service.store.worklist import Worklist

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POOL = "pool.test"
ANN, BOB = Actor("ann", "request-1"), Actor("bob", "request-2")
ADDRESSES = ("192.0.2.1", "2001:db8::1")


class Tables:
    """The store's modules over one database, a connection to look into it, and rows to begin with."""

    def __init__(self, database: Database, connection: asyncpg.Connection) -> None:
        self.database = database
        self.connection = connection
        self.availability = Availability(database)
        self.allocations = Allocations(database, self.availability)
        self.holdings = Holdings(database)
        self.claims = Claims(database)
        self.declarations = Declarations(database, self.allocations, self.availability)
        self.worklist = Worklist(database, MINUTE, 30 * DAY)
        self.watches = Watches(database, timedelta())
        self.changes = Changes(database)
        self.registrations = Registrations(database)
        self.trail = Trail(database)

    async def row(self, table: str, fqdn: str) -> dict[str, Any] | None:
        """The one row of a name, None if there is none."""
        column = "pool_domain" if table == "pool_registrations" else "fqdn"
        rows = await self.connection.fetch(f"SELECT * FROM {table} WHERE {column} = $1", fqdn)
        assert len(rows) < 2
        return dict(rows[0]) if rows else None

    async def events(self, fqdn: str) -> list[tuple[str, str, str | None, str | None, str | None]]:
        """Action, actor, state before and after, and outcome, oldest first."""
        rows = await self.connection.fetch(
            "SELECT action, actor, from_state, to_state, outcome FROM events WHERE fqdn = $1 ORDER BY id", fqdn
        )
        return [tuple(row) for row in rows]

    async def ago(self, table: str, fqdn: str, **columns: timedelta) -> None:
        """Put times of a row into the past."""
        for column, by in columns.items():
            await self.connection.execute(
                f"UPDATE {table} SET {column} = now() - $2::interval WHERE fqdn = $1", fqdn, by
            )

    # --- rows to begin with ----------------------------------------------------------------------

    def reservation(self, label: str, ttl: timedelta = HOUR, **more: Any) -> Reservation:
        values = {
            "fqdn": f"{label}.{POOL}", "mode": Mode.POOL, "pool_domain": POOL, "subdomain": label, "created_by": None,
            "ttl": ttl, "credentials": secrets(label),
        }  # fmt: skip
        return Reservation(**{**values, **more})

    async def reserved(self, label: str, actor: Actor = ANN, **more: Any) -> Allocation:
        made = await self.allocations.reserve(self.reservation(label, **more), actor)
        assert made is not None
        return made

    async def committed(self, label: str, actor: Actor = ANN, **more: Any) -> Allocation:
        held = await self.reserved(label, actor, **more)
        made = await self.allocations.commit(held.fqdn, label.encode(), list(ADDRESSES), None, actor)
        assert made is not None
        return made

    async def published(self, label: str, actor: Actor = ANN, **more: Any) -> Allocation:
        held = await self.committed(label, actor, **more)
        (lease,) = await self.worklist.lease(1, 0)
        assert await self.worklist.record_published(lease, ["1 13 2 ab"], HOUR, "published")
        found = await self.allocations.find(held.fqdn)
        assert found is not None
        return found

    def new_claim(self, fqdn: str, secret: str = "claim", **more: Any) -> NewClaim:
        values = {
            "fqdn": fqdn, "mode": Mode.BYO_MANUAL, "created_by": None, "ttl": HOUR, "credentials": secrets(secret),
            "challenge": f"challenge-{secret}",
        }  # fmt: skip
        return NewClaim(**{**values, **more})

    async def claimed(self, fqdn: str, secret: str = "claim", actor: Actor = ANN, **more: Any) -> Claim:
        return await self.claims.open(self.new_claim(fqdn, secret, **more), actor)

    async def wished(self, fqdn: str, secret: str = "claim", actor: Actor = ANN, **more: Any) -> Claim:
        claim = await self.claimed(fqdn, secret, actor, **more)
        found = await self.claims.wish(claim.id, Wish(addresses=ADDRESSES, sovereign_fqdn=None, imports=()), actor)
        assert found is not None
        return found

    async def adopted(
        self, fqdn: str, secret: str = "claim", actor: Actor = ANN, proof: Proof = Proof.TXT, **more: Any
    ) -> Allocation:  # fmt: skip
        claim = await self.wished(fqdn, secret, actor, **more)
        await self.claims.prove([claim.id], proof)
        found = await self.claims.adopt(claim.id, actor)
        assert found is not None
        return found


def secrets(text: str) -> Credentials:
    return Credentials(token_digest=text.encode(), request_digest=b"asked")


@pytest.fixture
async def tables(database_url: str) -> AsyncIterator[Tables]:
    database = Database(database_url, 5)
    await database.open()
    connection = await asyncpg.connect(database_url)
    yield Tables(database, connection)
    await connection.close()
    await database.close()
