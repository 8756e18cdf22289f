"""Undo sheets, and changes at registrars: each noted before it is sent, and settled once its outcome is known.

No token, nor any other secret, is among what is stored. Raises StoreUnavailable whenever PostgreSQL does not
answer in time.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from pdm_service.callers import Actor
from pdm_service.model.allocation import Allocation
from pdm_service.model.records import RRset
from pdm_service.store.database import Database
from pdm_service.store.rows import WORK_CHANNEL, rrsets_of

Kind = Literal["nameservers", "rollback", "ds", "ds-removal"]
Result = Literal["requested", "pending", "done", "failed"]


class UndoSheet(msgspec.Struct, frozen=True, kw_only=True):
    """How a domain was before a registrar was asked to change it."""

    registrar: str
    nameservers: tuple[str, ...]
    """On record at the registrar."""
    ds: tuple[str, ...]
    """At the parent."""
    parent_ttl: int
    """Of the NS RRset at the parent, in seconds."""
    acknowledged: tuple[str, ...]
    """Findings that the caller has acknowledged."""
    rrsets: tuple[RRset, ...]
    """What was found of the zone."""
    made_at: datetime | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change at a registrar."""

    id: int
    registrar: str
    kind: Kind
    wanted: tuple[str, ...]
    operation: str | None
    problem: str | None
    outcome: Result
    age: timedelta
    """Since it was noted."""

    @property
    def settled(self) -> bool:
        """Whether it is known how it ended."""
        return self.outcome in {"done", "failed"}


_CHANGE = "id, registrar, kind, wanted, operation, problem, outcome, now() - requested_at AS age"


class Changes:
    """The statements about undo sheets and changes."""

    def __init__(self, database: Database) -> None:
        """`database` must commit durably: what is noted here is relied on after a crash."""
        self._database = database

    async def keep(self, allocation: Allocation, sheet: UndoSheet) -> None:
        """Keep an undo sheet, unless one is there from before a change of nameservers that was sent."""
        await self._database.writing.execute(
            """
            INSERT INTO undo_sheets AS u (allocation_id, fqdn, registrar, nameservers, ds, parent_ttl, acknowledged,
                                          rrsets)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                ON CONFLICT (allocation_id) DO UPDATE
               SET registrar = excluded.registrar, nameservers = excluded.nameservers, ds = excluded.ds,
                   parent_ttl = excluded.parent_ttl, acknowledged = excluded.acknowledged,
                   rrsets = excluded.rrsets, made_at = now()
             WHERE NOT EXISTS (SELECT FROM registrar_changes c
                                WHERE c.allocation_id = u.allocation_id AND c.kind = 'nameservers'
                                  AND c.outcome <> 'failed')
            """,
            allocation.id, allocation.fqdn, sheet.registrar, sheet.nameservers, sheet.ds, sheet.parent_ttl,
            sheet.acknowledged, msgspec.json.encode(sheet.rrsets).decode(),
        )  # fmt: skip

    async def sheet(self, allocation: UUID) -> UndoSheet | None:
        """Return the undo sheet of an allocation."""
        row = await self._database.row(
            "SELECT registrar, nameservers, ds, parent_ttl, acknowledged, rrsets, made_at FROM undo_sheets"
            " WHERE allocation_id = $1",
            allocation,
        )
        if row is None:
            return None
        values = {**dict(row), "rrsets": rrsets_of(row["rrsets"])}
        return msgspec.convert(values, UndoSheet)

    async def last(self, allocation: UUID, *kinds: Kind) -> Change | None:
        """Return the last change of these kinds."""
        row = await self._database.row(
            f"SELECT {_CHANGE} FROM registrar_changes WHERE allocation_id = $1 AND kind = ANY($2)"
            " ORDER BY id DESC LIMIT 1",
            allocation, list(kinds),
        )  # fmt: skip
        return _change(row)

    async def open(self, allocation: UUID) -> Change | None:
        """Return the change whose outcome is not known yet."""
        row = await self._database.row(
            f"SELECT {_CHANGE} FROM registrar_changes WHERE allocation_id = $1 AND settled_at IS NULL", allocation
        )
        return _change(row)

    async def begin(
        self, allocation: Allocation, registrar: str, kind: Kind, wanted: Sequence[str], actor: Actor
    ) -> Change | None:
        """Note a change that is about to be sent; None while another one is open, or the allocation is not active."""
        row = await self._database.writing.row(
            f"""
            WITH change AS (
                INSERT INTO registrar_changes (allocation_id, fqdn, registrar, kind, wanted)
                SELECT id, fqdn, $2, $3, $4 FROM allocations WHERE id = $1 AND state = 'active'
                    ON CONFLICT (allocation_id) WHERE settled_at IS NULL DO NOTHING
                RETURNING *),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, request_id, from_state, to_state, outcome)
                SELECT fqdn, allocation_id, $3 || '-requested', $5, $6, 'active', 'active',
                       array_to_string(wanted, ', ') FROM change)
            SELECT {_CHANGE} FROM change
            """,
            allocation.id, registrar, kind, list(wanted), actor.name, actor.request_id,
        )  # fmt: skip
        return _change(row)

    async def note(
        self, change: Change, outcome: Result, *, operation: str | None = None, problem: str | None = None
    ) -> None:
        """Record what became of a change, unless that is known already; what it needs of the caller follows.

        A change of nameservers that is made needs nothing more; one that surely was not made needs the token again.
        """
        settled = outcome in {"done", "failed"}
        await self._database.writing.execute(
            f"""
            WITH change AS (
                UPDATE registrar_changes
                   SET outcome = $2, operation = coalesce($3, operation), problem = $4,
                       settled_at = CASE WHEN $5 THEN now() END
                 WHERE id = $1 AND settled_at IS NULL RETURNING *),
            needed AS (
                UPDATE allocations a
                   SET needs = CASE WHEN $2 IN ('done', 'pending') THEN NULL ELSE 'registrar-token' END
                  FROM change
                 WHERE a.id = change.allocation_id AND change.kind IN ('nameservers', 'rollback', 'ds')),
            noted AS (
                INSERT INTO events (fqdn, allocation_id, action, actor, from_state, to_state, outcome)
                SELECT fqdn, allocation_id, kind || '-' || $2, 'registrar', 'active', 'active', $4 FROM change)
            SELECT pg_notify('{WORK_CHANNEL}', '') FROM change
            """,
            change.id, outcome, operation, problem, settled,
        )  # fmt: skip

    async def withdraw(self, held: Allocation) -> None:
        """Have the zone announce no DS any more: the domain is about to go elsewhere."""
        await self._database.writing.execute(
            f"""
            WITH a AS (
                UPDATE allocations
                   SET announce_ds = false, due_at = now(), generation = nextval('allocation_generation')
                 WHERE id = $1 AND state = 'active' AND announce_ds RETURNING fqdn)
            SELECT pg_notify('{WORK_CHANNEL}', '') FROM a
            """,
            held.id,
        )  # fmt: skip

    async def settle_by_dns(self, fqdn: str, kinds: Sequence[Kind]) -> None:
        """Record that the parent zone shows changes of these kinds, where one was still open."""
        rows = await self._database.rows(
            f"SELECT {_CHANGE} FROM registrar_changes WHERE fqdn = $1 AND kind = ANY($2) AND settled_at IS NULL",
            fqdn,
            list(kinds),
        )
        for row in rows:
            if (change := _change(row)) is not None:
                await self.note(change, "done", problem="seen in the parent zone")


def _change(row: asyncpg.Record | None) -> Change | None:
    return None if row is None else msgspec.convert(dict(row), Change)
