"""Refusals of the verbs: which one a caller meets, by state, token and values."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from pdm_service.allocator.refusals import (
    changed_hands,
    kept,
    no_allocation,
    refused_commit,
    refused_hold,
    several_claims,
    taken,
    wrong_token,
)
from pdm_service.errors import (
    AlreadyActive,
    Conflict,
    NotFound,
    PdmError,
    ReservationExpired,
    TokenMismatch,
)
from pdm_service.model.allocation import Allocation, Dns, DnsState, Mode, State
from pdm_service.model.tokens import Credentials

ADDRESSES = ("192.0.2.1", "2001:db8::1")
SOVEREIGN = "acme.omani.works"
SAME, OTHER_ADDRESS, OTHER_NAME, NO_NAME = (
    (ADDRESSES, SOVEREIGN),
    (("192.0.2.2",), SOVEREIGN),
    (ADDRESSES, "other.omani.works"),
    (ADDRESSES, None),
)
RESERVED, ACTIVE, RELEASING = State.RESERVED, State.ACTIVE, State.RELEASING


def allocation(state: State = ACTIVE, dns: DnsState = DnsState.PENDING, *, expired: bool = False) -> Allocation:
    now = datetime.now(UTC)
    return Allocation(
        id=uuid4(), fqdn="acme.omani.works", mode=Mode.POOL, pool_domain="omani.works", subdomain="acme", state=state,
        expired=expired, created_by=None, reserved_at=now, expires_at=None, committed_at=now, credentials=Credentials(token_digest=b""), sovereign_fqdn=SOVEREIGN,
        load_balancer_ips=ADDRESSES, dns=Dns(state=dns, updated_at=now), generation=1,
    )  # fmt: skip


@pytest.mark.parametrize("values", [SAME, OTHER_ADDRESS, OTHER_NAME, NO_NAME])
@pytest.mark.parametrize(
    ("state", "token_matches", "expected"),
    [
        (None, False, NotFound),
        (RESERVED, False, TokenMismatch),
        (ACTIVE, False, TokenMismatch),
        (RELEASING, False, TokenMismatch),
        (RESERVED, True, ReservationExpired),
        (RELEASING, True, Conflict),
    ],
)
def test_refused_commit_whatever_the_values(
    state: State | None, token_matches: bool, expected: type[PdmError], values: tuple[tuple[str, ...], str | None]
) -> None:
    """Only the holder of an active name is told anything about values; all others hear of state and token."""
    found = state and allocation(state, expired=state is RESERVED)
    addresses, sovereign = values
    refusal = refused_commit(found, token_matches=token_matches, addresses=addresses, sovereign_fqdn=sovereign)
    assert type(refusal) is expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (SAME, None),
        ((ADDRESSES[::-1], SOVEREIGN), None),
        (OTHER_ADDRESS, AlreadyActive),
        ((ADDRESSES[:1], SOVEREIGN), AlreadyActive),
        (((*ADDRESSES, "192.0.2.2"), SOVEREIGN), AlreadyActive),
        (OTHER_NAME, AlreadyActive),
        (NO_NAME, AlreadyActive),
    ],
)
def test_refused_commit_of_an_active_name(
    values: tuple[tuple[str, ...], str | None], expected: type[PdmError] | None
) -> None:
    """The same commit again is no error, whatever the order of its addresses; other values are."""
    addresses, sovereign = values
    refusal = refused_commit(allocation(), token_matches=True, addresses=addresses, sovereign_fqdn=sovereign)
    assert (type(refusal) if refusal else None) == expected


@pytest.mark.parametrize(
    ("state", "token_matches", "expected"),
    [
        (None, False, NotFound),
        (RESERVED, False, TokenMismatch),
        (ACTIVE, False, TokenMismatch),
        (RELEASING, False, TokenMismatch),
        (RESERVED, True, ReservationExpired),
        (ACTIVE, True, AlreadyActive),
        (RELEASING, True, Conflict),
    ],
)
def test_refused_hold(state: State | None, token_matches: bool, expected: type[PdmError]) -> None:
    """Why the holder of a token cannot act on his reservation, by state and token."""
    found = state and allocation(state)
    assert type(refused_hold(found, token_matches=token_matches)) is expected


def test_states_all_covered() -> None:
    """The tables above know every state."""
    assert set(State) == {RESERVED, ACTIVE, RELEASING}


def test_taken_names_the_state() -> None:
    """Who cannot have a name hears which name, and what it is that holds it: each state has its own sentence."""
    sentences = {taken("acme.omani.works", one) for one in State}
    assert len(sentences) == len(State)
    assert all(sentence.startswith("acme.omani.works ") for sentence in sentences)


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (wrong_token("acme.omani.works"), "token-mismatch"), (no_allocation("acme.omani.works"), "not-found"),
        (several_claims("acme.omani.works", 3), "conflict"), (changed_hands("acme.omani.works"), "conflict"),
    ],
)  # fmt: skip
def test_other_refusals(refusal: PdmError, code: str) -> None:
    """Each refusal has the code of the contract, and names the name that it is about."""
    assert refusal.code == code
    assert "acme.omani.works" in refusal.detail
    assert "acme.omani.works" in kept("acme.omani.works")


def test_several_claims_are_counted() -> None:
    """Who does not say which claim they mean hears how many there are."""
    assert "3" in several_claims("acme.omani.works", 3).detail
