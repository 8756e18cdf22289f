"""How anything is changed at a registrar: read, write once, read back."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from adapters.base import Applied, Change, OutcomeUnclear, Pending, RegistrarError

T = TypeVar("T")

_POLL_SECONDS = 60


async def set_nameservers(
    wanted: tuple[str, ...],
    look: Callable[[], Awaitable[tuple[tuple[str, ...], RegistrarError | None]]],
    write: Callable[[], Awaitable[Pending | None]],
) -> Change:
    """Make the nameservers the wanted ones; see `settle`.

    `look` returns what is on record, and what is known to stand against a change; that is raised instead of writing.
    """
    obstacle: RegistrarError | None = None

    async def on_record() -> tuple[str, ...]:
        nonlocal obstacle
        found, obstacle = await look()
        return found

    async def unless_obstructed() -> Pending | None:
        if obstacle is not None:
            raise obstacle
        return await write()

    return await settle(wanted, on_record, unless_obstructed) or Applied(wanted)


async def settle(
    wanted: T, look: Callable[[], Awaitable[T]], write: Callable[[], Awaitable[Pending | None]]
) -> Pending | None:
    """Make what `look` returns the wanted; None once it is on record.

    `write` returns None when the provider says that the change is made. Raises OutcomeUnclear when it
    is not known whether it was, and what either of them raises.
    """
    if await look() == wanted:
        return None
    try:
        pending = await write()
    except OutcomeUnclear:
        if await _seen(look) == wanted:
            return None
        raise
    if pending is not None:
        return pending
    found = await _seen(look)
    if found is None:
        raise OutcomeUnclear("the registrar took the change, but could not be asked what it has on record since")
    # Some registrars go on telling what was before for a while.
    return None if found == wanted else Pending(None, _POLL_SECONDS)


async def _seen(look: Callable[[], Awaitable[T]]) -> T | None:
    try:
        return await look()
    except RegistrarError:
        return None
