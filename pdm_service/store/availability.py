"""Whether a name can be had: who has it or had it until recently, and what is easily mistaken for it.

Writes the quarantine alone. Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from collections.abc import Iterable, Sequence
from typing import LiteralString

import asyncpg
import msgspec

from pdm_service.callers import Actor
from pdm_service.errors import Conflict
from pdm_service.model.allocation import State
from pdm_service.names import policy
from pdm_service.names.policy import Confusables
from pdm_service.store import quotas
from pdm_service.store.batching import Batched
from pdm_service.store.database import Database
from pdm_service.store.rows import LIVE
from pdm_service.store.sessions import Lent

BATCH = 64
"""How many questions, or reservations, go into one statement at most."""

_SKELETON_LOCKS = 0x70646F
"""The first key of the advisory locks under which names are compared with others that look alike."""

# `q` is a row of quarantine, `new` who wants its name.
QUARANTINED: LiteralString = "q.until > now() AND (q.owner <> new.owner OR q.tenant IS DISTINCT FROM new.tenant)"

# Somebody else has, or had until recently, a name that `new` is easily mistaken for.
RESEMBLES: LiteralString = f"""
    (EXISTS (SELECT FROM allocations o
              WHERE o.pool_domain = new.pool_domain AND o.skeleton = new.skeleton AND o.fqdn <> new.fqdn
                AND (o.owner <> new.owner OR o.tenant IS DISTINCT FROM new.tenant)
                AND (o.expires_at IS NULL OR o.expires_at > now()))
     OR EXISTS (SELECT FROM quarantine q
                 WHERE q.pool_domain = new.pool_domain AND q.skeleton = new.skeleton AND q.fqdn <> new.fqdn
                   AND {QUARANTINED}))
"""


class Question(msgspec.Struct, frozen=True):
    """Who asks whether they could have a name."""

    fqdn: str
    pool_domain: str
    subdomain: str
    owner: str
    tenant: str | None


class Standing(msgspec.Struct, frozen=True):
    """What stands in the way of having a name."""

    state: State | None
    """Of a live allocation, None if there is none."""
    quarantined: bool = False
    """Kept for its last holder."""
    resembles: bool = False
    """Easily mistaken for a name that somebody else holds."""


class Availability:
    """Questions about names that somebody wants."""

    def __init__(self, database: Database, confusables: Confusables = "off") -> None:
        self._database = database
        self._confusables = confusables
        self._standing: Batched[Question, Standing] = Batched(self._ask_standing, BATCH)

    async def standing(self, question: Question) -> Standing:
        """Return what stands in the way of having a name."""
        return await self._standing(question)

    async def _ask_standing(self, questions: Sequence[Question]) -> list[Standing]:
        looks = [policy.skeleton(question.subdomain) for question in questions]
        # A name has its own look: one scan finds it, and all that is easily mistaken for it.
        rows = await self._database.rows(
            f"""
            SELECT a.skeleton, a.fqdn, a.state, a.owner, a.tenant FROM allocations a
             WHERE a.skeleton = ANY($1) AND a.pool_domain IS NOT NULL AND {LIVE}
            UNION ALL
            SELECT q.skeleton, q.fqdn, NULL, q.owner, q.tenant FROM quarantine q
             WHERE q.skeleton = ANY($1) AND q.until > now()
            """,
            looks,
        )
        alike: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            alike.setdefault(row[0], []).append(row)
        return [_standing(question, alike.get(look, ())) for question, look in zip(questions, looks, strict=True)]

    def counts(self, actor: Actor) -> bool:
        """Return whether not only the name decides, but also what others or the caller have."""
        return actor.quotas.any or actor.tenant_quotas.any or self._confusables == "refuse"

    async def require_room(self, connection: Lent, question: Question, actor: Actor) -> None:
        """Raise QuotaExceeded if a client has what it may have, Conflict if a name is easily mistaken for another's.

        To be called in the transaction that takes the name: until it ends nobody else can take one that matters.
        """
        await quotas.count(connection, actor, question.tenant)
        if self._confusables != "refuse":
            return
        alike = f"{policy.skeleton(question.subdomain)}.{question.pool_domain}"
        await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _SKELETON_LOCKS, alike)
        resembles = await connection.fetchval(
            f"""
            SELECT {RESEMBLES} FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                AS new (fqdn, pool_domain, skeleton, owner, tenant)
            """,
            *_asked([question]),
        )
        if resembles:
            raise Conflict(f"{question.fqdn} is easily mistaken for a name that somebody else holds; choose another")

    async def end_quarantine(self) -> None:
        """Forget the last holders of names whose quarantine has ended."""
        await self._database.writing.execute("DELETE FROM quarantine WHERE until < now()")


def _standing(question: Question, alike: Iterable[asyncpg.Record]) -> Standing:
    """Return what the rows of similar names mean for the caller who asks."""
    state, quarantined, resembles = None, False, False
    for _, fqdn, its_state, owner, tenant in alike:
        others = (owner, tenant) != (question.owner, question.tenant)
        if fqdn != question.fqdn:
            resembles = resembles or (others and fqdn.endswith(f".{question.pool_domain}"))
        elif its_state is not None:
            state = State(its_state)
        else:
            quarantined = quarantined or others
    return Standing(state, quarantined, resembles)


def _asked(questions: Sequence[Question]) -> list[list[str | None]]:
    """Return the parameters of a question: a list for each."""
    rows = ((one.fqdn, one.pool_domain, policy.skeleton(one.subdomain), one.owner, one.tenant) for one in questions)
    return [list(column) for column in zip(*rows, strict=True)]
