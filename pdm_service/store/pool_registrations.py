"""What is known of the pool domains at their registrar, shared by all replicas.

One replica at a time checks a domain: a lease with a deadline, so that another takes over from one that is killed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import asyncpg
import msgspec

from pdm_service.store.database import Database
from pdm_service.store.rows import Lease

State = Literal["unknown", "in-order", "changing", "failed"]
_COLUMNS = "pool_domain, state, nameservers, ds, problem, checked_at, repaired_at"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What the last check of a pool domain's registrar found."""

    pool_domain: str
    state: State
    nameservers: tuple[str, ...] | None = None
    ds: tuple[str, ...] | None = None
    problem: str | None = None
    checked_at: datetime | None = None
    repaired_at: datetime | None = None


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A pool domain that is due, and what was done before."""

    operation: str | None
    """What the registrar carries out by itself."""
    since_moved: timedelta | None
    """How long ago its nameservers were changed; None for never."""
    since_signed: timedelta | None
    """How long ago its DS was changed; None for never."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What to record of a check."""

    state: State
    nameservers: tuple[str, ...] | None = None
    ds: tuple[str, ...] | None = None
    problem: str | None = None
    operation: str | None = None
    repaired: bool = False
    again: timedelta
    """When to check next."""


class Registrations:
    """The statements about pool domains at their registrar. All may raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        """`database` must commit durably: what is noted here is relied on after a crash."""
        self._database = database

    async def lease(self, pool_domain: str, older: timedelta | None, lasts: timedelta) -> Lease[Registered] | None:
        """Lease a domain if it is due, or was observed more than `older` ago; None if not."""
        row = await self._database.writing.row(
            """
            INSERT INTO pool_registrations AS r (pool_domain, lease_id, lease_until)
            VALUES ($1, gen_random_uuid(), now() + $3::interval)
                ON CONFLICT (pool_domain) DO UPDATE
               SET lease_id = excluded.lease_id, lease_until = excluded.lease_until
             WHERE (r.lease_until IS NULL OR r.lease_until < now())
               AND (r.due_at <= now() OR r.checked_at IS NULL OR r.checked_at <= now() - $2::interval)
            RETURNING lease_id, operation, now() - moved_at AS since_moved, now() - signed_at AS since_signed
            """,
            pool_domain, older, lasts,
        )  # fmt: skip
        if row is None:
            return None
        seen = Registered(operation=row["operation"], since_moved=row["since_moved"], since_signed=row["since_signed"])
        return Lease(id=row["lease_id"], name=pool_domain, row=seen)

    async def about_to_move(self, lease: Lease[Registered]) -> bool:
        """Note, before it is sent, that the nameservers are changed now; False if the lease has ended."""
        row = await self._database.writing.row(
            "UPDATE pool_registrations SET moved_at = now() WHERE pool_domain = $1 AND lease_id = $2"
            " AND lease_until > now() RETURNING 1",
            lease.name, lease.id,
        )  # fmt: skip
        return row is not None

    async def about_to_sign(self, lease: Lease[Registered]) -> bool:
        """Note, before it is sent, that the DS is changed now; False if the lease has ended."""
        row = await self._database.writing.row(
            "UPDATE pool_registrations SET signed_at = now() WHERE pool_domain = $1 AND lease_id = $2"
            " AND lease_until > now() RETURNING 1",
            lease.name, lease.id,
        )  # fmt: skip
        return row is not None

    async def record(self, lease: Lease[Registered], outcome: Outcome) -> None:
        """Record what was observed and end the lease; what was seen before stays where nothing was seen now."""
        await self._database.writing.execute(
            """
            UPDATE pool_registrations
               SET state = $3, nameservers = coalesce($4, nameservers), ds = coalesce($5, ds), problem = $6,
                   operation = $7, repaired_at = CASE WHEN $8 THEN now() ELSE repaired_at END,
                   checked_at = now(), due_at = now() + $9::interval, lease_id = NULL, lease_until = NULL
             WHERE pool_domain = $1 AND lease_id = $2
            """,
            lease.name, lease.id, outcome.state, _list(outcome.nameservers), _list(outcome.ds),
            outcome.problem, outcome.operation, outcome.repaired, outcome.again,
        )  # fmt: skip

    async def all(self) -> dict[str, Registration]:
        """Return what is known, by pool domain."""
        rows = await self._database.rows(f"SELECT {_COLUMNS} FROM pool_registrations")
        return {row["pool_domain"]: _registration(row) for row in rows}


def _list(texts: Sequence[str] | None) -> list[str] | None:
    return None if texts is None else list(texts)


def _registration(row: asyncpg.Record) -> Registration:
    return msgspec.convert(dict(row), Registration)
