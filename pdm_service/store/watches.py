"""What is remembered of delegations, and who observes them next; shared by all replicas.

One replica at a time checks a domain: a lease with a deadline, so that another takes over from one that is killed.
Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import LiteralString, TypeVar

import asyncpg
import msgspec

from pdm_service.model.observation import Known, Memory, Phase, Report
from pdm_service.store.database import Database
from pdm_service.store.rows import Lease

T = TypeVar("T")

_LEASE = timedelta(seconds=15)
_UNWATCHED_KEPT = timedelta(days=1)


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A domain that is due."""

    at: datetime
    """The moment that it is judged at."""
    memory: Memory | None
    """What earlier observations left."""
    taken_back_at: datetime | None = None
    """When a rollback of the nameservers that the domain has here was asked for."""
    whose: str = ""
    """The client and tenant whose turn it takes (`shares.whose`)."""


class Watches:
    """The statements about observations of delegations."""

    def __init__(self, database: Database, ahead: timedelta) -> None:
        """`ahead` is how far ahead of the database's clock delegations are judged: none but in rehearsals."""
        self._database = database
        self._ahead = ahead

    async def lease(self, limit: int, most: int, busy: Mapping[str, int]) -> list[Lease[Watched]]:
        """Lease at most `limit` domains that are due: of each tenant the longest waiting, then the next of each.

        A tenant gets `most` at a time, those included that it has under way already (`busy`).
        """
        rows = await self._database.writing.rows(
            f"""
            WITH turns AS (
                SELECT fqdn, due_at, coalesce(w.whose, '') AS whose, coalesce(busy.count, 0)
                           + row_number() OVER (PARTITION BY coalesce(w.whose, '') ORDER BY due_at) AS turn
                  FROM watches w LEFT JOIN unnest($5::text[], $6::int[]) AS busy (whose, count)
                                        ON busy.whose = coalesce(w.whose, '')
                 WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())),
            next AS (SELECT fqdn FROM turns WHERE turn <= $4 ORDER BY turn, due_at LIMIT $2),
            due AS (
                SELECT fqdn FROM watches
                 WHERE fqdn IN (TABLE next) AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
                   FOR UPDATE SKIP LOCKED)
            UPDATE watches w SET lease_id = gen_random_uuid(), lease_until = now() + $3::interval, looked_at = now()
             WHERE fqdn IN (TABLE due) RETURNING {_WATCHED}
            """,
            self._ahead, limit, _LEASE, most, list(busy), list(busy.values()),
        )  # fmt: skip
        return [_lease_of(row) for row in rows]

    async def lease_one(self, fqdn: str, older: timedelta) -> Lease[Watched] | None:
        """Lease a domain now; None if somebody observes it now, or did less than `older` ago."""
        row = await self._database.writing.row(
            f"""
            INSERT INTO watches AS w (fqdn, lease_id, lease_until, looked_at)
            VALUES ($2, gen_random_uuid(), now() + $3::interval, now())
                ON CONFLICT (fqdn) DO UPDATE
               SET lease_id = excluded.lease_id, lease_until = excluded.lease_until, looked_at = excluded.looked_at
             WHERE (w.lease_until IS NULL OR w.lease_until < now())
               AND (w.looked_at IS NULL OR w.looked_at <= now() - $4::interval)
            RETURNING {_WATCHED}
            """,
            self._ahead, fqdn, _LEASE, older,
        )  # fmt: skip
        return _lease_of(row) if row else None

    async def record(self, lease: Lease[Watched], report: Report, memory: Memory, again: timedelta) -> bool:
        """Record what was observed and end the lease; False if it had ended. Due again while somebody has it.

        What was hurried since the observation began is due at once: that may have missed why.
        """
        row = await self._database.writing.row(
            """
            UPDATE watches w
               SET report = $3, memory = $4, lease_id = NULL, lease_until = NULL,
                   due_at = CASE WHEN EXISTS (SELECT FROM claims c WHERE c.fqdn = w.fqdn AND c.expires_at > now())
                                   OR EXISTS (SELECT FROM allocations a WHERE a.fqdn = w.fqdn AND a.mode <> 'pool')
                                 THEN CASE WHEN due_at > looked_at AND due_at <= now() THEN due_at
                                           ELSE now() + $5::interval END END
             WHERE fqdn = $1 AND lease_id = $2 RETURNING fqdn
            """,
            lease.name, lease.id, _text(report), _text(memory), again,
        )  # fmt: skip
        return row is not None

    async def give_up(self, lease: Lease[Watched]) -> None:
        """End a lease without a record."""
        await self._database.writing.execute(
            "UPDATE watches SET lease_id = NULL, lease_until = NULL WHERE fqdn = $1 AND lease_id = $2",
            lease.name, lease.id,
        )  # fmt: skip

    async def hurry(self, fqdn: str) -> None:
        """Have a domain observed now."""
        await self._database.writing.execute("UPDATE watches SET due_at = now() WHERE fqdn = $1", fqdn)

    async def known(self, fqdn: str) -> Known | None:
        """Return what the last observation found, None if there was none."""
        row = await self._database.row(
            "SELECT report, memory, due_at FROM watches WHERE fqdn = $1 AND report IS NOT NULL", fqdn
        )
        if row is None:
            return None
        return Known(report=_of(row["report"], Report), memory=_of(row["memory"], Memory), due_at=row["due_at"])

    async def now(self) -> datetime:
        """Return the moment that delegations are judged at."""
        (row,) = await self._database.rows("SELECT now() + $1::interval AS now", self._ahead)
        now: datetime = row["now"]
        return now

    async def note(self, fqdn: str, before: str, phase: str) -> None:
        """Append a change of phase to the audit trail of whoever has the domain."""
        await self._database.writing.execute(
            """
            INSERT INTO events (fqdn, allocation_id, action, actor, from_state, to_state, outcome)
            SELECT fqdn, id, 'delegation', 'watch', state, state, $2 || ' to ' || $3 FROM (
                SELECT fqdn, id, state FROM allocations WHERE fqdn = $1
                 UNION ALL SELECT fqdn, id, 'reserved' FROM claims WHERE fqdn = $1 AND expires_at > now()) AS held
            """,
            fqdn, before, phase,
        )  # fmt: skip

    async def announce(self, fqdn: str, *, secured: bool, registrars: Sequence[str]) -> bool:
        """Have a customer's zone say which DS its parent should have; return whether it did not yet.

        Where one of `registrars` made the delegation, the caller's token is needed until the DS is there.
        """
        async with self._database.writing.connection() as connection:
            row = await connection.fetchrow(
                """
                    UPDATE allocations
                       SET announce_ds = true, due_at = now(), generation = nextval('allocation_generation')
                     WHERE fqdn = $1 AND mode <> 'pool' AND state = 'active' AND dns_state = 'published'
                       AND NOT announce_ds
                       AND NOT EXISTS ( -- on its way back
                           SELECT FROM registrar_changes c
                            WHERE c.allocation_id = allocations.id AND c.kind IN ('rollback', 'ds-removal')
                              AND c.outcome <> 'failed'
                              AND c.id > (SELECT coalesce(max(id), 0) FROM registrar_changes n
                                           WHERE n.allocation_id = c.allocation_id AND n.kind = 'nameservers'
                                             AND n.outcome <> 'failed'))
                    RETURNING fqdn
                """,
                fqdn,
            )  # fmt: skip
            await connection.execute(
                """
                UPDATE allocations a SET needs = CASE WHEN $2 THEN NULL ELSE 'registrar-token' END
                  FROM undo_sheets u
                 WHERE a.fqdn = $1 AND u.allocation_id = a.id AND u.registrar = ANY($3) AND a.state = 'active'
                   AND a.announce_ds AND (a.needs IS NULL) <> $2
                   AND NOT EXISTS (SELECT FROM registrar_changes c WHERE c.allocation_id = a.id AND c.kind = 'ds'
                                      AND c.outcome <> 'failed' AND c.requested_at > now() - interval '1 day')
                """,
                fqdn, secured, list(registrars),
            )  # fmt: skip
        return row is not None

    async def phases(self) -> dict[str, int]:
        """Return how many watched domains are in each phase."""
        rows = await self._database.rows(
            "SELECT coalesce(report->>'phase_now', report->>'phase') AS phase, count(*) FROM watches"
            " WHERE due_at IS NOT NULL AND report IS NOT NULL GROUP BY 1"
        )
        return {row["phase"]: row["count"] for row in rows}

    async def forget(self) -> None:
        """Delete what nobody cares for any more."""
        await self._database.writing.execute(
            "DELETE FROM watches WHERE due_at IS NULL AND looked_at < now() - $1::interval", _UNWATCHED_KEPT
        )


# $1 is how far ahead the clock is.
_WATCHED: LiteralString = """
    w.fqdn, w.lease_id, w.memory, now() + $1::interval AS at, coalesce(w.whose, '') AS whose,
    (SELECT max(c.requested_at) + $1::interval FROM allocations h JOIN registrar_changes c ON c.allocation_id = h.id
      WHERE h.fqdn = w.fqdn AND c.kind = 'rollback' AND c.outcome <> 'failed'
        AND c.id > (SELECT coalesce(max(n.id), 0) FROM registrar_changes n
                     WHERE n.allocation_id = h.id AND n.kind = 'nameservers' AND n.outcome <> 'failed')
    ) AS taken_back_at
"""


def _lease_of(row: asyncpg.Record) -> Lease[Watched]:
    memory = _of(row["memory"], Memory) if row["memory"] else None
    watched = Watched(at=row["at"], memory=memory, whose=row["whose"], taken_back_at=row["taken_back_at"])
    return Lease(id=row["lease_id"], name=row["fqdn"], row=watched)


_BEFORE: dict[Phase, Phase] = {"left": "moved"}
"""Phases that the release before does not know, each with the one that it reads instead. Gone with the next release."""


def _text(value: Report | Memory) -> str:
    if (before := _BEFORE.get(value.phase)) is None:
        return msgspec.json.encode(value).decode()
    fields = {**msgspec.to_builtins(value), "phase": before, "phase_now": value.phase}
    return msgspec.json.encode(fields).decode()


def _of(text: str, shape: type[T]) -> T:
    fields = msgspec.json.decode(text)
    return msgspec.convert({**fields, "phase": fields.get("phase_now", fields["phase"])}, shape)
