"""One change at a customer's registrar: noted, sent once, read back, recorded.

A change is noted before it is sent, so that a process which dies in between leaves a trace. One whose outcome is not
known is never sent again before the registrar, or the parent zone, has shown it, unless the registrar knows repeats by
a key. The token lives in the request that carries it.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Literal
from uuid import uuid5

import msgspec

from adapters import base
from adapters.base import Applied, Ds, Follows, KnowsRepeats, Pending, ReadsDs, Registrar
from pdm_service import glue
from pdm_service.byo import budgets
from pdm_service.byo.imports import NOTHING, Choice
from pdm_service.byo.refusals import under_way
from pdm_service.callers import Actor
from pdm_service.delegations.watch import Watch
from pdm_service.glue import Glue
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

    def __init__(self, changes: Changes, watch: Watch, registrars: Registrars, platform: Glue) -> None:
        """`platform` has the addresses of the platform's nameservers, for a registrar that does not know them."""
        self._changes = changes
        self._watch = watch
        self._registrars = registrars
        self._platform = platform

    async def set_nameservers(
        self, held: Allocation, order: Order, kind: Kind, wanted: tuple[str, ...], end: float
    ) -> None:
        """Change the nameservers; raises ChangeUnderWay, RegistrarFailure."""
        adapter = self._adapter(order)
        least, most = budgets.WRITE
        within = max(least, min(most, end - monotonic()))

        async def set_(change: Change) -> Applied | Pending:
            if isinstance(adapter, KnowsRepeats):
                key = _key(held, change)
                return await adapter.set_nameservers(order.secret, held.fqdn, wanted, within=within, key=key)
            return await adapter.set_nameservers(order.secret, held.fqdn, wanted, within=within)

        async def send(change: Change) -> Applied | Pending:
            until = monotonic() + within
            hosts = glue.of(wanted, self._platform)
            return await glue.with_known_hosts(adapter, order.secret, held.fqdn, hosts, until, lambda: set_(change))

        await self._change(held, order, kind, wanted, send)

    async def set_ds(self, held: Allocation, order: Order, kind: Kind, ds: tuple[Ds, ...]) -> None:
        """Set the DS, none to take it away; raises ChangeUnderWay, RegistrarFailure, UnsupportedOperation."""
        adapter = self._registrars.ds_adapter(order.asked.registrar)
        within = budgets.WRITE[1]
        await self._change(
            held, order, kind, tuple(one.text for one in ds),
            lambda _: adapter.set_ds(order.secret, held.fqdn, ds, within=within),
        )  # fmt: skip

    async def _change(
        self, held: Allocation, order: Order, kind: Kind, wanted: tuple[str, ...],
        send: Callable[[Change], Awaitable[Applied | Pending | None]],
    ) -> None:  # fmt: skip
        """Note a change, send it once, and record what came of it."""
        change = await self._begin(held, order, kind, wanted)
        try:
            made = await send(change)
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

    async def _begin(self, held: Allocation, order: Order, kind: Kind, wanted: tuple[str, ...]) -> Change:
        """Note a change, or return the open one that is the same and may be sent again; raises ChangeUnderWay."""
        change = await self._changes.begin(held, order.asked.registrar, kind, wanted, order.actor)
        if change is not None:
            return change
        last = await self._changes.open(held.id)
        if last is not None and last.wanted == wanted and self._may_repeat(last, order, kind):
            return last
        try:
            settled = await self.settled(held, order)
        except base.RegistrarError as failure:
            raise as_error(failure) from None
        if settled and (change := await self._changes.begin(held, order.asked.registrar, kind, wanted, order.actor)):
            return change
        raise under_way()

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
        if last is not None and not last.settled:
            if await self.settled(held, order):
                last = await self._changes.last(held.id, "nameservers", "rollback")
            else:
                return "go" if self._may_repeat(last, order, kind) else "wait"
        return "done" if last and (last.outcome, last.kind) == ("done", kind) else "go"

    async def settled(self, held: Allocation, order: Order) -> bool:
        """Return whether no change is open, having read how the one ended that was; raises RegistrarError."""
        last = await self._changes.open(held.id)
        if last is None:
            return True
        adapter = self._adapter(order)
        if await _on_record(last, adapter, order.secret, held.fqdn) == frozenset(last.wanted):
            await self._changes.note(last, "done", problem="read back at the registrar")
            return True
        failed = await self._why_failed(last, adapter, order.secret, held.fqdn)
        if failed is not None:
            await self._changes.note(last, "failed", problem=failed)
        return await self._changes.open(held.id) is None

    async def _why_failed(self, last: Change, adapter: Registrar, secret: str, fqdn: str) -> str | None:
        """Return why a change that is not on record has failed, or None while it may still succeed.

        The registrar is believed as long as it says that it works on it. Of one that does not say, the change has
        failed when its time is over, and the parent zone does not show it either.
        """
        if last.operation is not None and isinstance(adapter, Follows):
            try:
                progress = await adapter.progress(secret, fqdn, last.operation, within=budgets.LOOK)
            except (base.Rejected, base.NotSupported):
                return "the registrar no longer knows the change, and does not have it on record"
            if progress.failed or not progress.done:
                return progress.failed.detail if progress.failed else None
        if last.age < timedelta(seconds=adapter.about.settles_within):
            return None
        # What the parent zone shows is noted by the observation itself.
        seen = await self._watch.observe_now(fqdn, budgets.LOOK)
        if not any(view.usable for view in seen.observation.parents):
            return None
        return "it was on record neither at the registrar nor in the parent zone when its time was over"

    def _may_repeat(self, last: Change, order: Order, kind: Kind) -> bool:
        """Return whether a change whose reply was lost may be sent again: under its own key it is made once."""
        adapter = self._adapter(order)
        return (
            (last.kind, last.outcome, last.registrar) == (kind, "requested", order.asked.registrar)
            and isinstance(adapter, KnowsRepeats)
            and adapter.knows_repeats(order.secret)
        )

    def _adapter(self, order: Order) -> Registrar:
        return self._registrars.adapter(order.asked.registrar)


async def _on_record(last: Change, adapter: Registrar, secret: str, fqdn: str) -> frozenset[str] | None:
    """Return what the registrar has of what a change is about, None where it does not tell."""
    if last.kind in {"nameservers", "rollback"}:
        return frozenset(await adapter.get_nameservers(secret, fqdn, within=budgets.LOOK))
    if not isinstance(adapter, ReadsDs):
        return None
    return frozenset(one.text for one in await adapter.get_ds(secret, fqdn, within=budgets.LOOK))


def _key(held: Allocation, change: Change) -> str:
    """Return what a registrar knows a change by that is sent again: it is of this change, and of no other one."""
    return str(uuid5(held.id, str(change.id)))
