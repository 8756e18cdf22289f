"""The flip: a customer's domain comes to the platform by a change of its nameservers at its registrar.

Pre-flight, undo sheet, zone, change, in this order. A process that dies anywhere leaves an allocation that says what
the next call has to bring (`needs`), and the undo sheet.
"""

import asyncio
from time import monotonic

import msgspec

from adapters import base
from adapters.base import SetsDs
from pdm_service.byo import budgets
from pdm_service.byo.imports import Choice, taken
from pdm_service.byo.refusals import changed_meanwhile, refuse, refuse_late
from pdm_service.byo.registrar_change import Order, RegistrarChanges
from pdm_service.byo.survey import Prepared, Registered, Survey, Surveyor, registered_of
from pdm_service.delegations import verdict
from pdm_service.delegations.observe import servers
from pdm_service.delegations.prober import Prober
from pdm_service.delegations.watch import Watch
from pdm_service.errors import NotFound
from pdm_service.model import zone
from pdm_service.model.allocation import Allocation, DnsState, Proof
from pdm_service.powerdns import PowerDns, PowerDnsError
from pdm_service.publisher.outcome import Outcomes
from pdm_service.registrars import Registrars, as_error, ds_of
from pdm_service.store.claims import Claims, Wish
from pdm_service.store.registrar_changes import Changes, UndoSheet


class Flips:
    """The steps of a flip, for one request each."""

    def __init__(
        self,
        *,
        outcomes: Outcomes,
        claims: Claims,
        changes: Changes,
        registrar_changes: RegistrarChanges,
        watch: Watch,
        surveyor: Surveyor,
        registrars: Registrars,
        powerdns: PowerDns,
        prober: Prober,
        nameservers: tuple[str, ...],
    ) -> None:
        self._outcomes = outcomes
        self._claims = claims
        self._changes = changes
        self._registrar_changes = registrar_changes
        self._watch = watch
        self._surveyor = surveyor
        self._registrars = registrars
        self._powerdns = powerdns
        self._prober = prober
        self._names = nameservers
        self._wanted = base.wanted(nameservers)

    async def claim(self, claim: Allocation, wish: Wish, order: Order) -> Allocation | None:
        """Take a claimed domain to the platform; None if the claim is open no more.

        Raises PreflightBlocked, ChangeUnderWay, RegistrarFailure, Conflict, OverlapsAllocation, NotFound.
        """
        end = monotonic() + budgets.COMMIT
        chosen = order.chosen or Choice(given=claim.imports)
        survey, registered = await self._check(claim, order, chosen)
        rrsets = await asyncio.to_thread(taken, claim.fqdn, survey.old, chosen, self._surveyor.acme_issuers)
        await self._claims.prove([claim.id], Proof.REGISTRAR, order.actor)
        wish = msgspec.structs.replace(wish, imports=rrsets, acknowledged=order.acknowledged)
        if await self._claims.wish(claim.id, wish, order.actor) is None:
            return None
        outdated = verdict.outdated(survey.observed.report, survey.observed.memory)
        if (held := await self._claims.adopt(claim.id, order.actor, outdated)) is None:
            if waiting := await self._claims.find(claim.fqdn, claim.credentials.token_digest, None):
                return waiting  # for what lies below it to be gone
            held = await self._outcomes.now(claim)  # another request has adopted it meanwhile
        return await self._flip(held, survey, registered, order, end)

    async def resume(self, held: Allocation, order: Order) -> Allocation:
        """Go on with the flip of an active domain from wherever it stands; raises as `claim`."""
        end = monotonic() + budgets.COMMIT
        try:
            standing = await self._registrar_changes.standing(held, order, "nameservers")
            if standing == "done":
                sheet = await self._changes.sheet(held.id)
                refuse_late(held.fqdn, order.acknowledged, sheet.acknowledged if sheet else None)
                await self._publish_ds(held, order)
        except base.RegistrarError as failure:
            raise as_error(failure) from None
        if standing != "go":
            return await self._outcomes.now(held)
        survey, registered = await self._check(held, order, Choice(given=held.imports))
        return await self._flip(held, survey, registered, order, end)

    async def _check(self, held: Allocation, order: Order, chosen: Choice) -> tuple[Survey, Registered]:
        """Survey the domain and ask the registrar; raises PreflightBlocked, RegistrarFailure."""
        adapter = self._registrars.adapter(order.asked.registrar)
        try:
            found = await adapter.validate(order.secret, held.fqdn, within=budgets.LOOK)
        except base.RegistrarError as failure:
            raise as_error(failure) from None
        registered = registered_of(found)
        survey = await self._surveyor.survey(held.fqdn, budgets.SURVEY, chosen=chosen)
        findings = await self._surveyor.judge(held.fqdn, survey, registered, held=held, chosen=chosen)
        refuse(findings, order.acknowledged)
        return survey, registered

    async def _flip(
        self, held: Allocation, survey: Survey, registered: Registered, order: Order, end: float
    ) -> Allocation:
        await self._changes.keep(held, _undo_sheet(survey, registered, order))
        served = await self._outcomes.of(held, min(budgets.PUBLISH, end - monotonic()))
        if served is None:
            raise NotFound(f"{held.fqdn} has changed hands in the meantime")
        if served.dns.state is not DnsState.PUBLISHED:
            return served
        findings = await self._surveyor.judge(
            held.fqdn, survey, registered, held=served, chosen=Choice(given=served.imports),
            prepared=await self._prepared(served),
        )  # fmt: skip
        refuse(findings, order.acknowledged)
        await self._require_unchanged(served, registered, order, end)
        await self._registrar_changes.set_nameservers(served, order, "nameservers", self._wanted, end)
        return await self._outcomes.now(served)

    async def _require_unchanged(self, held: Allocation, registered: Registered, order: Order, end: float) -> None:
        """Raise PreflightBlocked for nameservers that somebody else has changed, RegistrarFailure."""
        kept = await self._changes.sheet(held.id)
        before = kept.nameservers if kept else registered.nameservers
        adapter = self._registrars.adapter(order.asked.registrar)
        least, most = budgets.READ
        within = max(least, min(most, end - monotonic()))
        try:
            now = await adapter.get_nameservers(order.secret, held.fqdn, within=within)
        except base.RegistrarError as failure:
            raise as_error(failure) from None
        # Registrars have no compare-and-swap: this check is as close to the change as can be.
        if now not in {before, self._wanted}:
            raise changed_meanwhile(now, before)

    async def _prepared(self, held: Allocation) -> Prepared:
        """See how the platform's nameservers, and its API, have the zone."""
        found = await servers(self._prober.round(budgets.PROBE), held.fqdn, self._wanted)
        want = zone.wanted(held, self._names)
        try:
            seen = await self._powerdns.observe(want.zone)
        except PowerDnsError:
            seen = None
        present = {(rrset.name, rrset.type) for rrset in seen.rrsets} if seen else set()
        missing = tuple(
            f"{rrset.name} {rrset.type}"
            for rrset in (*want.rrsets, *want.imports)
            if (rrset.name, rrset.type) not in present
        )
        return Prepared(servers=found, missing=missing, signed=bool(seen and seen.ds))

    async def _publish_ds(self, held: Allocation, order: Order) -> None:
        """Set the DS at the registrar, where it is time and the registrar can; raises RegistrarError."""
        if not held.announce_ds or not isinstance(self._registrars.adapter(order.asked.registrar), SetsDs):
            return
        known = await self._watch.known(held.fqdn, fresh=False)
        if known.report.dnssec == "secure" or known.memory.phase != "live":
            return
        if await self._registrar_changes.settled(held, order):
            ds = tuple(ds_of(*key) for key in await self._powerdns.signing_keys(f"{held.fqdn}."))
            await self._registrar_changes.set_ds(held, order, "ds", ds)


def _undo_sheet(survey: Survey, registered: Registered, order: Order) -> UndoSheet:
    return UndoSheet(
        registrar=order.asked.registrar,
        nameservers=registered.nameservers,
        ds=survey.observed.report.ds,
        parent_ttl=survey.observed.memory.parent_ttl,
        acknowledged=order.acknowledged,
        rrsets=survey.old.rrsets if survey.old else (),
    )
