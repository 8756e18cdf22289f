"""Why a verb changed nothing, in words to act on. Pure; each sentence stands here once."""

from pdm_service.errors import AlreadyActive, Conflict, NotFound, PdmError, ReservationExpired, TokenMismatch
from pdm_service.model.allocation import Allocation, State


def refused_commit(
    found: Allocation | None, *, token_matches: bool, addresses: tuple[str, ...], sovereign_fqdn: str | None
) -> PdmError | None:
    """Return why a commit changed nothing, or None if `found` is what the same commit made before."""
    if found is None or not token_matches or found.state is not State.ACTIVE:
        return refused_hold(found, token_matches=token_matches)
    if set(found.load_balancer_ips) != set(addresses) or found.sovereign_fqdn != sovereign_fqdn:
        return AlreadyActive(f"{found.fqdn} is active with other values; release it first to change them")
    return None


def refused_hold(found: Allocation | None, *, token_matches: bool) -> PdmError:
    """Return why the holder of a reservation token could not act on its reservation."""
    if found is None:
        return NotFound("there is no such reservation; reserve the name first")
    if not token_matches:
        return TokenMismatch(f"the reservation token is not that of the present holder of {found.fqdn}")
    if found.state is State.RESERVED:
        return ReservationExpired(f"the reservation of {found.fqdn} is over; reserve it again")
    if found.state is State.ACTIVE:
        return AlreadyActive(f"{found.fqdn} is active already")
    return Conflict(f"{found.fqdn} is being released")
