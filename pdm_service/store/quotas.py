"""How much a client, or its tenant, has and does; and what is too much. Counted in PostgreSQL: replicas agree."""

from datetime import timedelta
from typing import LiteralString

from msgspec import Struct

from pdm_service.callers import LOCAL, Actor, Quotas
from pdm_service.errors import QuotaExceeded
from pdm_service.store.sessions import Lent

LOCKS = 0x70646E
"""The first key of the advisory locks under which a client's names are counted and taken."""

# $1 client, $2 tenant (null: all of them). The indexes leave `local` out, whom most deployments do not count: to say so
# lets them serve. A client of that name in the file of callers is counted without them.
USAGE: LiteralString = """
    WITH held AS (
        SELECT state, expires_at FROM allocations
         WHERE owner = $1 AND owner <> 'local' AND ($2::text IS NULL OR tenant = $2)
           AND (expires_at IS NULL OR expires_at > now())
        UNION ALL
        SELECT 'reserved', expires_at FROM claims
         WHERE owner = $1 AND owner <> 'local' AND ($2::text IS NULL OR tenant = $2) AND expires_at > now()),
    made AS (
        SELECT at FROM events
         WHERE actor = $1 AND actor <> 'local' AND action = 'reserved' AND at > now() - interval '1 day'
           AND ($2::text IS NULL OR tenant = $2))
    SELECT (SELECT count(*) FROM held) AS names,
           (SELECT count(*) FROM held WHERE state = 'reserved') AS reservations,
           (SELECT min(expires_at) - now() FROM held WHERE state = 'reserved') AS first_ends,
           (SELECT count(*) FROM made) AS day,
           (SELECT min(at) + interval '1 day' - now() FROM made) AS day_ends,
           (SELECT count(*) FROM made WHERE at > now() - interval '1 hour') AS hour,
           (SELECT min(at) + interval '1 hour' - now() FROM made WHERE at > now() - interval '1 hour') AS hour_ends
"""

USAGE_OF_LOCAL: LiteralString = USAGE.replace("AND owner <> 'local'", "").replace("AND actor <> 'local'", "")


class Usage(Struct, frozen=True, kw_only=True):
    """What one has, and did."""

    names: int
    reservations: int
    first_ends: timedelta | None
    """Until the first reservation expires."""
    day: int
    day_ends: timedelta | None
    """Until the first reserve of the last day is older than that."""
    hour: int
    hour_ends: timedelta | None


class Excess(Struct, frozen=True):
    """Which quota stands in the way, and for how long at least."""

    what: str
    limit: int
    retry_after_seconds: int


_STANDING = timedelta(hours=1)
"""When to ask again where only a release helps."""


def exceeded(usage: Usage, quotas: Quotas) -> Excess | None:
    """Return the quota that one more name would exceed, None if there is room."""
    rows = (
        ("names held at a time", usage.names, quotas.names, _STANDING),
        ("open reservations", usage.reservations, quotas.reservations, usage.first_ends),
        ("reservations an hour", usage.hour, quotas.reservations_per_hour, usage.hour_ends),
        ("reservations a day", usage.day, quotas.reservations_per_day, usage.day_ends),
    )
    for what, count, limit, wait in rows:
        if limit is not None and count >= limit:
            return Excess(what, limit, max(1, int((wait or _STANDING).total_seconds()) + 1))
    return None


async def count(connection: Lent, actor: Actor, tenant: str | None) -> None:
    """Raise QuotaExceeded if a client, or its tenant, has what it may have.

    To be called in the transaction that takes the name: nobody else takes one for this client until it ends.
    """
    if not (actor.quotas.any or actor.tenant_quotas.any):
        return
    await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", LOCKS, actor.name)
    for who, limits, whose in ((None, actor.quotas, "this client"), (tenant, actor.tenant_quotas, "this tenant")):
        if not limits.any or (limits is actor.tenant_quotas and tenant is None):
            continue
        row = await connection.fetchrow(USAGE_OF_LOCAL if actor.name == LOCAL else USAGE, actor.name, who)
        if row and (excess := exceeded(Usage(**row), limits)):
            raise QuotaExceeded(f"{whose} may have {excess.limit} {excess.what}", excess.retry_after_seconds)
