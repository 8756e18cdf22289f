"""The way back: a customer's domain gets the nameservers that it had before the flip. Our DS goes first."""

from datetime import timedelta
from time import monotonic

from adapters import base
from pdm_service.byo import budgets, refusals
from pdm_service.byo.registrar_change import Order, RegistrarChanges
from pdm_service.delegations.observe import servers
from pdm_service.delegations.prober import Prober
from pdm_service.delegations.watch import Watch
from pdm_service.errors import NoUndoSheet, PreflightBlocked
from pdm_service.model.allocation import Allocation
from pdm_service.publisher.outcome import Outcomes
from pdm_service.registrars import Registrars, as_error
from pdm_service.store.registrar_changes import Changes


class Rollbacks:
    """The steps of the way back, for one request each."""

    def __init__(
        self,
        *,
        outcomes: Outcomes,
        changes: Changes,
        registrar_changes: RegistrarChanges,
        watch: Watch,
        registrars: Registrars,
        prober: Prober,
        nameservers: tuple[str, ...],
    ) -> None:
        self._outcomes = outcomes
        self._changes = changes
        self._registrar_changes = registrar_changes
        self._watch = watch
        self._registrars = registrars
        self._prober = prober
        self._wanted = base.wanted(nameservers)

    async def roll_back(self, held: Allocation, order: Order) -> Allocation:
        """Give a domain the nameservers back that it had before the flip.

        Raises NoUndoSheet, ChangeUnderWay, PreflightBlocked, RegistrarFailure, UnsupportedOperation, NotFound.
        """
        end = monotonic() + budgets.COMMIT
        sheet = await self._changes.sheet(held.id)
        if sheet is None or await self._changes.last(held.id, "nameservers") is None:
            raise NoUndoSheet(f"the service has not changed the nameservers of {held.fqdn}")
        adapter = self._registrars.adapter(order.asked.registrar)
        try:
            standing = await self._registrar_changes.standing(held, order, "rollback")
            now = await adapter.get_nameservers(order.secret, held.fqdn, within=budgets.LOOK)
        except base.RegistrarError as failure:
            raise as_error(failure) from None
        if standing == "wait":
            raise refusals.under_way()
        if standing == "done" or now == sheet.nameservers:
            return await self._outcomes.now(held)
        if now != self._wanted:
            raise refusals.changed_meanwhile(now, self._wanted)
        if not await self._ds_first(held, order):
            await self._require_serving(held.fqdn, sheet.nameservers)
            await self._changes.withdraw(held)
            await self._registrar_changes.set_nameservers(held, order, "rollback", sheet.nameservers, end)
        return await self._outcomes.now(held)

    async def remove_ds(self, held: Allocation, order: Order) -> None:
        """Take our DS away at the registrar, so that the domain may go elsewhere.

        Raises ChangeUnderWay, RegistrarFailure, UnsupportedOperation.
        """
        self._registrars.ds_adapter(order.asked.registrar)  # before anything is changed
        await self._changes.withdraw(held)
        await self._registrar_changes.set_ds(held, order, "ds-removal", ())

    async def _ds_first(self, held: Allocation, order: Order) -> bool:
        """Return whether a DS was sent on its way out, so that all else has to wait; raises PreflightBlocked."""
        observed = await self._watch.observe_now(held.fqdn, budgets.LOOK)
        if not observed.report.parents_total or observed.report.dnssec == "unknown":
            raise PreflightBlocked("the parent zone cannot be asked for a DS now; try again shortly")
        if observed.report.ds:
            await self.remove_ds(held, order)
            return True
        now, memory = observed.observation.at, observed.memory
        gone = memory.ds_seen_at + timedelta(seconds=memory.ds_ttl) if memory.ds_seen_at else now
        if gone > now:
            raise refusals.ds_remembered(gone)
        return False

    async def _require_serving(self, fqdn: str, nameservers: tuple[str, ...]) -> None:
        views = await servers(self._prober.round(budgets.LOOK), fqdn, nameservers)
        lame = sorted({view.name for view in views} - {view.name for view in views if view.state == "serving"})
        if lame:
            raise refusals.lame(lame, fqdn)
