"""One change at a customer's registrar: noted, sent once, read back, recorded.

A change is noted before it is sent, so that a process which dies in between leaves a trace. One whose outcome is not
known is never sent again before the registrar, or the parent zone, has shown it. The token lives in the request that
carries it.
"""

import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Literal

import msgspec

from adapters import base
from adapters.base import Applied, Ds, Follows, Pending, Registrar
from pdm_service.byo import budgets
from pdm_service.byo.imports import NOTHING, Choice
from pdm_service.byo.refusals import under_way
from pdm_service.callers import Actor
from pdm_service.delegations.watch import Watch
from pdm_service.model.allocation import Allocation
from pdm_service.registrars import Asked, Registrars, as_error
from pdm_service.store.registrar_changes import Change, Changes, Kind
from pdm_service.telemetry import logs

_log = logging.getLogger(__name__)

Standing = Literal["go", "wait", "done"]
"""Of the last change of nameservers: send one, wait for it, or nothing is left to do."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants done at a registrar, and with what."""

    asked: Asked
    secret: str
    acknowledged: tuple[str, ...] = ()
    chosen: Choice = NOTHING
    """What is to be taken along."""
    actor: Actor

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Order({self.asked})"


class RegistrarChanges:
    """Changes at registrars, one of a domain at a time."""

    def __init__(self, changes: Changes, watch: Watch, registrars: Registrars) -> None:
        self._changes = changes
        self._watch = watch
        self._registrars = registrars

    async def set_nameservers(
        self, held: Allocation, order: Order, kind: Kind, wanted: tuple[str, ...], end: float
    ) -> None:
        """Change the nameservers; raises ChangeUnderWay, RegistrarFailure."""
        adapter = self._adapter(order)
        least, most = budgets.WRITE
        within = max(least, min(most, end - monotonic()))
        await self._change(
            held, order, kind, wanted,
            lambda: adapter.set_nameservers(order.secret, held.fqdn, wanted, within=within),
        )  # fmt: skip

    async def set_ds(self, held: Allocation, order: Order, kind: Kind, ds: tuple[Ds, ...]) -> None:
        """Set the DS, none to take it away; raises ChangeUnderWay, RegistrarFailure, UnsupportedOperation."""
        adapter = self._registrars.ds_adapter(order.asked.registrar)
        within = budgets.WRITE[1]
        await self._change(
            held, order, kind, tuple(one.text for one in ds),
            lambda: adapter.set_ds(order.secret, held.fqdn, ds, within=within),
        )  # fmt: skip

    async def _change(
        self, held: Allocation, order: Order, kind: Kind, wanted: tuple[str, ...],
        send: Callable[[], Awaitable[Applied | Pending | None]],
    ) -> None:  # fmt: skip
        """Note a change, send it once, and record what came of it."""
        change = await self._changes.begin(held, order.asked.registrar, kind, wanted, order.actor)
        if change is None:
            raise under_way()
        try:
            made = await send()
        except base.OutcomeUnclear as failure:
            await self._changes.note(change, "requested", problem=failure.detail)
        except base.RegistrarError as failure:
            await self._changes.note(change, "failed", problem=failure.detail)
            raise as_error(failure) from None
        else:
            await self._record(change, made)
        await self._watch.hurry(held.fqdn)
        fields = {**msgspec.structs.asdict(order.asked), "kind": kind, "wanted": wanted}
        logs.event(_log, logging.INFO, "registrar changed", fields)

    async def _record(self, change: Change, made: Applied | Pending | None) -> None:
        if isinstance(made, Pending):
            text = "the registrar has accepted the change and completes it by itself"
            await self._changes.note(change, "pending", operation=made.operation, problem=text)
        else:
            await self._changes.note(change, "done")

    # --- how the last one ended -----------------------------------------------------------------------

    async def standing(self, held: Allocation, order: Order, kind: Kind) -> Standing:
        """Find out how the last change of nameservers ended, by reading alone; raises RegistrarError."""
        last = await self._changes.last(held.id, "nameservers", "rollback")
        if last is None or last.settled:
            return "done" if last and (last.outcome, last.kind) == ("done", kind) else "go"
        adapter = self._adapter(order)
        now = await adapter.get_nameservers(order.secret, held.fqdn, within=budgets.LOOK)
        if now == last.wanted:
            await self._changes.note(last, "done", problem="read back at the registrar")
            return "done" if last.kind == kind else "go"
        failed = await self._why_failed(last, adapter, held.fqdn, order.secret)
        if failed is None:
            return "wait"
        await self._changes.note(last, "failed", problem=failed)
        return "go"

    async def _why_failed(self, last: Change, adapter: Registrar, fqdn: str, secret: str) -> str | None:
        """Return why a change that is not on record has failed, or None while it may still succeed."""
        if last.operation is not None and isinstance(adapter, Follows):
            try:
                progress = await adapter.progress(secret, fqdn, last.operation, within=budgets.LOOK)
            except (base.Rejected, base.NotSupported):
                return "the registrar no longer knows the change, and does not have it on record"
            return progress.failed.detail if progress.failed else None
        if last.age < (budgets.SETTLING_ASYNC if adapter.about.asynchronous else budgets.SETTLING):
            return None
        return "it was not on record at the registrar afterwards"

    def _adapter(self, order: Order) -> Registrar:
        return self._registrars.adapter(order.asked.registrar)
