"""Whose domain is it: what an observation shows is recorded with the claims, and who has it proven now gets it.

A proof is of today. Whatever was seen before, a claim becomes an allocation only by what this observation shows; so a
domain that was sold is not had by the record of who had it before.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from pdm_service.callers import Actor
from pdm_service.errors import Conflict, OverlapsAllocation
from pdm_service.model.allocation import Claim, Proof
from pdm_service.store.claims import Claims
from pdm_service.telemetry import logs

_log = logging.getLogger(__name__)
_ACTOR = Actor("watch", everything=True)

Texts = Callable[[], Awaitable[frozenset[str] | None]]
"""Asks for the texts at a domain's challenge; None: nobody answers."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What an observation shows of whose a domain is."""

    at: datetime
    texts: Texts
    delegated: bool
    """Whether all of the parent's servers name the platform's nameservers, and no other."""
    outdated: datetime | None
    """The moment before which a holder's proof counts no more (`verdict.outdated`)."""


class Proofs:
    """Draws the conclusions about claims."""

    def __init__(self, claims: Claims, on_adopted: Callable[[], None]) -> None:
        """`on_adopted` is called when a claim has become an allocation."""
        self._claims = claims
        self._on_adopted = on_adopted

    async def conclude(self, fqdn: str, seen: Seen) -> bool:
        """Record what proves a domain, and make an allocation of a committed claim that is proven now.

        Returns whether a proven and committed claim is left that cannot be had yet.
        """
        if not (claims := await self._claims.of(fqdn)):
            return False
        texts = await seen.texts()
        shown = [claim.id for claim in claims if claim.challenge in (texts or ())]
        await self._claims.prove(shown, Proof.TXT, _ACTOR)
        # Where all nameservers are the platform's there is nobody to ask: what was shown before is of yesterday.
        await self._claims.lapse(fqdn, shown, denied=texts is not None or seen.delegated)
        if seen.delegated:
            moved = await self._claims.prove_by_transition(fqdn, seen.at)
            await self._claims.prove(moved, Proof.TRANSITION, _ACTOR)
        ready = [claim for claim in await self._claims.of(fqdn) if claim.proof and claim.committed_at]
        return not all([await self._adopted(claim, seen.outdated) for claim in ready])

    async def _adopted(self, claim: Claim, outdated: datetime | None) -> bool:
        try:
            held = await self._claims.adopt(claim.id, _ACTOR, outdated)
        except (Conflict, OverlapsAllocation) as refusal:
            if await self._claims.refused(claim.id, str(refusal)):
                fields = {"fqdn": claim.fqdn, "claim": claim.id, "error": str(refusal)}
                logs.event(_log, logging.WARNING, "a proven claim cannot be had", fields)
            return False
        if held is not None:
            self._on_adopted()
        return held is not None
