"""How a set of nameservers is changed, at any registrar: look, write once, read back."""

from collections.abc import Awaitable, Callable

from adapters.base import Applied, Change, OutcomeUnclear, Pending, RegistrarError

_POLL_SECONDS = 60


async def settle(
    wanted: tuple[str, ...],
    look: Callable[[], Awaitable[tuple[str, ...]]],
    write: Callable[[], Awaitable[Pending | None]],
) -> Change:
    """Make the set that `look` returns the wanted one.

    `write` returns None when the provider says that the change is made. Raises OutcomeUnclear when it
    cannot be told whether it was.
    """
    if await look() == wanted:
        return Applied(wanted)
    try:
        pending = await write()
    except OutcomeUnclear:
        if await _seen(look) == wanted:
            return Applied(wanted)
        raise
    if pending is not None:
        return pending
    found = await _seen(look)
    if found is None:
        raise OutcomeUnclear("the registrar took the change, but could not be asked what it has on record since")
    # Some registrars go on telling the old set for a while.
    return Applied(found) if found == wanted else Pending(None, _POLL_SECONDS)


async def _seen(look: Callable[[], Awaitable[tuple[str, ...]]]) -> tuple[str, ...] | None:
    try:
        return await look()
    except RegistrarError:
        return None
