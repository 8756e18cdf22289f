"""The survey of a customer's domain: all that the pre-flight judges, collected at once."""

import asyncio
from datetime import datetime
from time import monotonic

import msgspec

from adapters.base import Validation, registrable
from pdm_service import dns_client
from pdm_service.byo import budgets, preflight
from pdm_service.byo.imports import NOTHING, Choice, covered
from pdm_service.byo.rdap import Rdap
from pdm_service.byo.scans import Scans
from pdm_service.delegations import verdict
from pdm_service.delegations.prober import Prober
from pdm_service.delegations.watch import Observed, Watch
from pdm_service.findings import Finding
from pdm_service.model.allocation import Allocation, Claim, Mode, Proof, State
from pdm_service.model.observation import OldZone, Registry, ServerView
from pdm_service.model.records import Nameserver
from pdm_service.store.claims import Claims


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What was collected about a domain."""

    observed: Observed
    old: OldZone | None
    """None where nobody but the platform serves the domain."""
    registry: Registry | None
    transferable: bool | None
    """None: not asked, since the customer has to agree to that."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What the registrar says of the domain."""

    nameservers: tuple[str, ...]
    may_set: bool | None
    obstacle: str | None


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """How the platform serves the domain already."""

    servers: tuple[ServerView, ...]
    missing: tuple[str, ...]
    """RRsets that its zone should have, and has not."""
    signed: bool


class Surveyor:
    """Collects, and has the pre-flight judge."""

    def __init__(
        self,
        *,
        watch: Watch,
        prober: Prober,
        rdap: Rdap,
        claims: Claims,
        pool_domains: tuple[str, ...],
        nameservers: tuple[str, ...],
        acme_issuers: tuple[str, ...],
        enabled: bool,
    ) -> None:
        """Not `enabled`: there is no way into the DNS, so that nothing can be found out."""
        self._watch = watch
        self._scans = Scans(prober)
        self._rdap = rdap
        self._claims = claims
        self._pool_domains = pool_domains
        self._nameservers = tuple(sorted(nameservers))
        self.acme_issuers = acme_issuers
        self.enabled = enabled

    async def registered_at(self, domain: str) -> datetime | None:
        """Return when a domain, or the one that it lies below, was registered, as its registry says."""
        found = await self._rdap.lookup(registrable(domain) or domain, budgets.REGISTRY)
        return found.registered_at if found else None

    async def survey(
        self,
        domain: str,
        seconds: float,
        *,
        transfer: bool = False,
        chosen: Choice = NOTHING,
        observed: Observed | None = None,
        registry: bool = True,
    ) -> Survey:
        """Collect what DNS and, unless not wanted, the registry say of a domain, within `seconds`.

        `observed` is what was just observed of it.

        The zone is also asked for what is `chosen`.

        `transfer` says that the customer agrees that a transfer of the zone is tried (AXFR, RFC 5936).
        """
        until = monotonic() + seconds
        looking = asyncio.ensure_future(self._rdap.lookup(domain, seconds)) if registry else None
        try:
            observed = observed or await self._watch.observe_now(domain, seconds * budgets.OBSERVE_SHARE)
            scan = await self._scans.of(observed.observation, chosen.questions())
            old = await scan.wait(max(0.1, until - monotonic())) if scan else None
            servers = scan.servers if scan else {}
            transferable = await self._transferable(domain, servers) if transfer else None
            found = await looking if looking else None
            return Survey(observed=observed, old=old, registry=found, transferable=transferable)
        finally:
            if looking:
                looking.cancel()

    async def close(self) -> None:
        """Call off what goes on beyond its requests."""
        await self._scans.close()

    async def _transferable(self, domain: str, servers: dict[str, Nameserver]) -> bool:
        asked = [dns_client.transfers(domain, one, budgets.TRANSFER) for one in servers.values()]
        return any(await asyncio.gather(*asked))

    async def judge(
        self,
        domain: str,
        survey: Survey,
        registered: Registered | None,
        *,
        held: Allocation | None = None,
        chosen: Choice = NOTHING,
        prepared: Prepared | None = None,
    ) -> tuple[Finding, ...]:
        """Return the pre-flight's findings; `registered` only where nameservers are to be changed at a registrar."""
        memory = survey.observed.memory
        ds_there = bool(survey.observed.report.ds)
        token_digest = held.credentials.token_digest if held else None
        outdated = verdict.outdated(survey.observed.report, memory)
        if isinstance(held, Claim) and held.registered_at:
            outdated = max(outdated or held.registered_at, held.registered_at)
        return preflight.judge(
            preflight.Facts(
                domain=domain,
                now=survey.observed.observation.at,
                flips=registered is not None,
                pool_domains=self._pool_domains,
                nameservers=self._nameservers,
                observation=survey.observed.observation,
                old=survey.old,
                registry=survey.registry,
                held_by=await self._claims.held_by_others(domain, token_digest, outdated),
                below=tuple(one.fqdn for one in await self._claims.below(domain) if one.state is State.ACTIVE),
                proven=held is not None and held.proof is Proof.TXT,
                ours=held is not None and not isinstance(held, Claim) and held.mode is not Mode.POOL,
                ds_gone_at=None if ds_there else memory.ds_seen_at,
                ds_ttl=memory.ds_ttl or None,
                registered_nameservers=registered.nameservers if registered else None,
                obstacle=registered.obstacle if registered else None,
                may_set=registered.may_set if registered else None,
                prepared=prepared.servers if prepared else (),
                missing=prepared.missing if prepared else (),
                signed=prepared.signed if prepared else None,
                imported=covered(survey.old, chosen),
                transferable=survey.transferable,
                acme_issuers=self.acme_issuers,
            )
        )


def registered_of(found: Validation) -> Registered:
    """Return what the pre-flight has to know of a registrar's answer."""
    obstacle = found.obstacle.detail if found.obstacle else None
    return Registered(nameservers=found.nameservers, may_set=found.can_set_nameservers, obstacle=obstacle)
