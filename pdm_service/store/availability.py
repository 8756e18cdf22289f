"""Whether a name can be had: who has it or had it until recently, and what is easily mistaken for it.

Writes the quarantine alone. Raises StoreUnavailable whenever PostgreSQL does not answer in time.
"""

from collections.abc import Callable, Sequence
from typing import LiteralString

from pdm_service.callers import Actor
from pdm_service.errors import Conflict
from pdm_service.model.standing import Question, Standing, Taken, standing
from pdm_service.names import policy
from pdm_service.names.policy import Confusables
from pdm_service.store import quotas
from pdm_service.store.batching import Batched
from pdm_service.store.database import Database
from pdm_service.store.follower import Follower
from pdm_service.store.rows import taken, taken_of
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
_ALIKE: LiteralString = f"""
    SELECT * FROM ({taken("n.skeleton = ANY($1)")}) AS n WHERE n.until > extract(epoch FROM now())
"""


class Availability:
    """Questions about names that somebody wants."""

    def __init__(
        self,
        database: Database,
        confusables: Confusables = "off",
        follower: Follower | None = None,
        on_asked: Callable[[], None] = lambda: None,
    ) -> None:
        """Without a `follower` nothing is answered from memory; `on_asked` is called where it was not new enough."""
        self._database = database
        self._confusables = confusables
        self._follower = follower
        self._on_asked = on_asked
        self._standing: Batched[Question, Standing] = Batched(self._ask_standing, BATCH)

    async def standing(self, question: Question) -> Standing:
        """Return what stands in the way of having a name, as PostgreSQL has it now."""
        return await self._standing(question)

    async def recent_standing(self, question: Question) -> Standing:
        """Return what stood in the way of having a name at most a second ago, and since this replica last changed it.

        From memory where that is known there, else as PostgreSQL has it.
        """
        if (found := self.remembered_standing(question)) is not None:
            return found
        self._on_asked()
        return await self._standing(question)

    def remembered_standing(self, question: Question) -> Standing | None:
        """Return the same, None where it is not known in memory."""
        alike = self._follower.alike(policy.skeleton(question.subdomain)) if self._follower else None
        return None if alike is None else standing(question, alike)

    def changed(self, fqdn: str) -> None:
        """Note that this replica has changed who has a name: it does not answer as if it had not."""
        if self._follower:
            self._follower.changed(fqdn)

    async def _ask_standing(self, questions: Sequence[Question]) -> list[Standing]:
        looks = [policy.skeleton(question.subdomain) for question in questions]
        # A name has its own look: one scan finds it, and all that is easily mistaken for it.
        rows = await self._database.rows(_ALIKE, looks)
        alike: dict[str, list[Taken]] = {}
        for row in rows:
            alike.setdefault(row["skeleton"], []).append(taken_of(row))
        return [standing(question, alike.get(look, ())) for question, look in zip(questions, looks, strict=True)]

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


def _asked(questions: Sequence[Question]) -> list[list[str | None]]:
    """Return the parameters of a question: a list for each."""
    rows = ((one.fqdn, one.pool_domain, policy.skeleton(one.subdomain), one.owner, one.tenant) for one in questions)
    return [list(column) for column in zip(*rows, strict=True)]
