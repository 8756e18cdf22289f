"""Why a verb changed nothing, in words to act on. Pure; each sentence stands here once."""

from pdm_service.errors import AlreadyActive, Conflict, NotFound, PdmError, ReservationExpired, TokenMismatch
from pdm_service.model.allocation import Allocation, State

_TAKEN = {
    State.RESERVED: "is reserved by another caller until it expires",
    State.ACTIVE: "is in use",
    State.RELEASING: "is being released, and is free once its DNS is gone",
}
ALIKE = "this is easily mistaken for a name that somebody else holds"


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
        return wrong_token(found.fqdn)
    if found.state is State.RESERVED:
        return ReservationExpired(f"the reservation of {found.fqdn} has expired; reserve it again")
    if found.state is State.ACTIVE:
        return AlreadyActive(f"{found.fqdn} is active already")
    return Conflict(f"{found.fqdn} is being released")


def wrong_token(fqdn: str) -> TokenMismatch:
    """Return the error for a token that is not the current holder's."""
    return TokenMismatch(f"the reservation token is not that of the current holder of {fqdn}")


def no_allocation(fqdn: str) -> NotFound:
    """Return the error for a name that the caller does not have."""
    return NotFound(f"there is no allocation of {fqdn}")


def several_claims(fqdn: str, count: int) -> Conflict:
    """Return the error for a release that does not say which claim it means."""
    return Conflict(f"there are {count} reservations of {fqdn}; send the reservationToken of one")


def changed_hands(fqdn: str) -> Conflict:
    """Return the error for a name that changed each time it was about to be released."""
    return Conflict(f"{fqdn} has just changed hands; read it again before you release it")


def kept(fqdn: str) -> str:
    """Say why a name in quarantine is not given."""
    return f"{fqdn} was released recently and is kept for its last holder; choose another"


def taken(fqdn: str, state: State) -> str:
    """Say why a name that is held is not given."""
    return f"{fqdn} {_TAKEN[state]}"
