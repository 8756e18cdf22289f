"""The taken names in memory, as PostgreSQL had them at most a second ago: loaded once, then kept by the audit trail.

Each statement that changes who has a name appends to the trail in the same transaction. What has become visible since
the last reading is found by comparing snapshots, not by the order of ids: a transaction that began early and commits
late is seen when it commits, and one that is under way holds nobody up.
https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
"""

import asyncio
import logging
import random
from collections.abc import Callable
from time import monotonic
from typing import LiteralString

import asyncpg

from pdm_service.model.standing import Taken, TakenNames
from pdm_service.names import policy
from pdm_service.store.rows import NAMES_CHANNEL, taken, taken_of
from pdm_service.store.sessions import connect
from pdm_service.store.signals import until
from pdm_service.telemetry import logs

_log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
"""How old an answer from memory may be."""
PAUSE_SECONDS = 0.25
"""Between two readings of the trail. A NOTIFY for each reservation would make them commit one after the other."""
RELOAD_SECONDS = 3600.0
"""After this long all is read again: what was changed without an entry in the trail counts then at the latest."""
_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 10.0
"""What takes longer than FRESH_SECONDS is of no use for a check, but ends the load on a server that is slow already."""
_CHUNK = 500
"""Rows that are put into memory at a time: requests are answered in between."""
_LEAST_PAUSE, _MOST_PAUSE = 1.0, 15.0
"""Before the next try where PostgreSQL does not answer: all is read anew then, which should not be often."""

_SNAPSHOT: LiteralString = "SELECT pg_current_snapshot()::text AS snapshot, extract(epoch FROM now())::float8 AS at"
# One row at least, which tells the moment; two of a name that is both held and in quarantine.
_CHANGED: LiteralString = f"""
    WITH changed AS (
        SELECT DISTINCT fqdn FROM events
         WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
           AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot))
    SELECT m.snapshot, m.at, current_setting('transaction_read_only')::bool AS read_only, c.fqdn AS changed, t.*
      FROM ({_SNAPSHOT}) AS m
      LEFT JOIN changed c ON true
      LEFT JOIN LATERAL ({taken("n.fqdn = c.fqdn")}) AS t ON true
"""


class Follower:
    """Knows the taken names, and whether what it knows is new enough to answer with."""

    def __init__(self, database_url: str, on_size: Callable[[int], None] = lambda _: None) -> None:
        """`on_size` gets how many looks of names are in memory, after each reading."""
        self._url = database_url
        self._on_size = on_size
        self._names = TakenNames()
        self._snapshot = ""
        self._read_at: float | None = None
        """When the last reading was begun; None: nothing is known."""
        self._pause = _LEAST_PAUSE
        self._changed: dict[str, float] = {}
        """When names with a look were last changed by this replica, as far as that is not read yet."""

    def alike(self, look: str) -> tuple[Taken, ...] | None:
        """Return the taken names with a look; None where it cannot be shown that they still were a second ago."""
        if self._read_at is None or monotonic() - self._read_at > FRESH_SECONDS or look in self._changed:
            return None
        return self._names.alike(look)

    def changed(self, fqdn: str) -> None:
        """Answer nothing of a name, and of those that look like it, until the trail has been read again."""
        self._changed[_look(fqdn)] = monotonic()

    async def turn(self) -> None:
        """Keep the names over a connection of its own as long as it lasts; then forget them, and wait a while."""
        try:
            await self._follow()
        except (
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
        ) as error:  # fmt: skip
            _log.warning("checks are not answered from memory for now: %s", type(error).__name__)
            self._pause = _LEAST_PAUSE if self._read_at is not None else min(2 * self._pause, _MOST_PAUSE)
        finally:
            self._forget()
        await asyncio.sleep(self._pause)

    async def _follow(self) -> None:
        # As for callers' statements: a plan made while the trail was short would go on reading all of it.
        connection = await connect(self._url, _CONNECT_SECONDS)
        changed_by_hand = asyncio.Event()
        try:
            await connection.execute("SET enable_seqscan = off; SET jit = off", timeout=_STATEMENT_SECONDS)
            await connection.add_listener(NAMES_CHANNEL, lambda *_: changed_by_hand.set())
            while True:
                changed_by_hand.clear()
                self._forget()
                await self._load(connection)
                again = monotonic() + RELOAD_SECONDS * random.uniform(0.8, 1.2)
                while not changed_by_hand.is_set() and monotonic() < again:
                    await self._catch_up(connection)
                    await until(changed_by_hand, PAUSE_SECONDS)
        finally:
            connection.terminate()

    def _forget(self) -> None:
        self._read_at = None
        self._names.clear()

    async def _load(self, connection: asyncpg.Connection) -> None:
        """Read all names, as of one snapshot."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute("SET LOCAL enable_seqscan = on")
            (moment,) = await connection.fetch(_SNAPSHOT, timeout=_STATEMENT_SECONDS)
            cursor = await connection.cursor(taken("true"), timeout=_STATEMENT_SECONDS)
            while rows := await cursor.fetch(_CHUNK, timeout=_STATEMENT_SECONDS):
                for row in rows:
                    self._names.add(row["skeleton"], taken_of(row))
        self._snapshot = moment["snapshot"]
        logs.event(_log, logging.INFO, "names in memory", {"names": len(self._names)})

    async def _catch_up(self, connection: asyncpg.Connection) -> None:
        """Read the names of all entries of the trail that have become visible since the last reading."""
        begun = monotonic()
        rows = await connection.fetch(_CHANGED, self._snapshot, timeout=_STATEMENT_SECONDS)
        if rows[0]["read_only"]:
            # It may be a primary of the past, where nothing changes any more.
            raise asyncpg.ReadOnlySQLTransactionError
        now: dict[str, list[Taken]] = {}
        for row in rows:
            if row["changed"] is not None:
                now.setdefault(row["changed"], []).extend([taken_of(row)] if row["skeleton"] is not None else [])
        for fqdn, found in now.items():
            subdomain, _, pool_domain = fqdn.partition(".")
            self._names.replace(_look(fqdn), subdomain, pool_domain, found)
        self._snapshot, self._names.at, self._read_at = rows[0]["snapshot"], rows[0]["at"], begun
        self._changed = {look: at for look, at in self._changed.items() if at > begun}
        self._on_size(len(self._names))


def _look(fqdn: str) -> str:
    """Return what a pool name looks like: it is one label under its pool domain."""
    return policy.skeleton(fqdn.partition(".")[0])
