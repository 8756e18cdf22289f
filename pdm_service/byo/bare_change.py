"""A change of nameservers alone, as the existing provisioner asks for it: no zone, no undo sheet, nothing is kept.

What a DS forbids is forbidden here too (`standing_ds`); a caller may go on over it by naming the code.
"""

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic

import msgspec

from adapters import base
from adapters.base import Applied, ReadsDs, Registrar
from pdm_service import errors, glue
from pdm_service.byo import budgets, standing_ds
from pdm_service.byo.standing_ds import Against
from pdm_service.delegations.watch import Watch
from pdm_service.glue import Glue
from pdm_service.registrars import Asked, Registrars, as_error
from pdm_service.telemetry import logs

_log = logging.getLogger(__name__)

ACKNOWLEDGED = "BYO-DS"


class Changed(msgspec.Struct, frozen=True):
    """What came of setting nameservers."""

    nameservers: tuple[str, ...]
    """On record; while pending, before the change."""
    pending: bool
    propagation: str


class BareChanges:
    """Changes of nameservers alone."""

    def __init__(self, registrars: Registrars, watch: Watch, platform: Glue) -> None:
        """`platform` has the addresses of the platform's nameservers, for a registrar that does not know them."""
        self._registrars = registrars
        self._watch = watch
        self._platform = platform

    async def set_nameservers(
        self,
        registrar: str | None,
        domain: str | None,
        token: str | None,
        nameservers: Sequence[str] | None,
        *,
        acknowledged: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> tuple[Asked, Changed]:
        """Validate, set the nameservers if they differ, read back.

        `addresses` are those of the nameservers inside the domain (`glue.inside`); they are set first, also where the
        nameservers are there already.

        Raises what is wrong with the question, RegistrarFailure, and DsPresent or DsUnknown unless BYO-DS is
        acknowledged.
        """
        asked, secret = self._registrars.asked(registrar, domain, token)
        wanted = _wanted(nameservers)
        given = glue.inside(asked.domain, nameservers or (), addresses)
        adapter = self._registrars.adapter(asked.registrar)
        until = monotonic() + budgets.SET
        try:
            before = await adapter.validate(secret, asked.domain, within=budgets.LOOK)
            if before.nameservers == wanted and not given:
                return asked, Changed(wanted, pending=False, propagation=adapter.about.propagation)
            if before.obstacle is not None:
                raise before.obstacle
            if ACKNOWLEDGED not in acknowledged and before.nameservers != wanted:
                _refuse(await self._against(adapter, secret, asked.domain))
            await glue.register(adapter, secret, asked.domain, given, until)
            change = await glue.with_known_hosts(
                adapter, secret, asked.domain, glue.of(wanted, self._platform), until,
                lambda: adapter.set_nameservers(secret, asked.domain, wanted, within=until - monotonic()),
            )  # fmt: skip
        except base.RegistrarError as failure:
            raise as_error(failure) from None
        applied = isinstance(change, Applied)
        fields = {**msgspec.structs.asdict(asked), "before": before.nameservers, "after": wanted, "applied": applied}
        logs.event(_log, logging.INFO, "nameservers set", fields)
        if isinstance(change, Applied):
            return asked, Changed(change.nameservers, pending=False, propagation=adapter.about.propagation)
        text = f"{adapter.about.title} has accepted the change and completes it by itself: {adapter.about.propagation}"
        return asked, Changed(before.nameservers, pending=True, propagation=text)

    async def _against(self, adapter: Registrar, secret: str, domain: str) -> Against | None:
        registered = asyncio.ensure_future(_registered_ds(adapter, secret, domain))
        try:
            seen = await self._watch.observe_now(domain, budgets.DS_LOOK)
            found = standing_ds.on_record(domain, seen.observation, await registered)
        finally:
            registered.cancel()
        memory = seen.memory
        return found or standing_ds.in_caches(memory.ds_seen_at, memory.ds_ttl or None, seen.observation.at)


async def _registered_ds(adapter: Registrar, secret: str, domain: str) -> tuple[str, ...]:
    """Return the DS that the registrar has on record; of one that does not say, the parent zone alone decides."""
    if not isinstance(adapter, ReadsDs):
        return ()
    try:
        return tuple(one.text for one in await adapter.get_ds(secret, domain, within=budgets.DS_LOOK))
    except base.RegistrarError:
        return ()


def _refuse(against: Against | None) -> None:
    if against is None:
        return
    kind = errors.DsUnknown if against.kind == "unknown" else errors.DsPresent
    raise kind(
        f"the nameservers are not changed: {against.seen}. A DS that does not fit the new nameservers makes the domain"
        f" unreachable: {against.remedy}, or acknowledge {ACKNOWLEDGED}"
    )


def _wanted(nameservers: Sequence[str] | None) -> tuple[str, ...]:
    if len({host.strip().lower().removesuffix(".") for host in nameservers or ()} - {""}) < base.MIN_NAMESERVERS:
        raise errors.MissingNameservers(f"a domain needs {base.MIN_NAMESERVERS} nameservers at least")
    try:
        return base.wanted(nameservers or ())
    except base.Rejected as failure:
        raise errors.InvalidFormat(failure.detail) from None
