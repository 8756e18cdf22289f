"""What a reservation is in every mode: its token and what is stored of it, and its repetition."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from pdm_service.allocator.orders import Terms
from pdm_service.allocator.reservations import Held, Reservations, prepared, repeated
from pdm_service.errors import IdempotencyKeyReused, InvalidTtl
from pdm_service.model import tokens
from pdm_service.model.allocation import Allocation, Mode, State
from pdm_service.model.tokens import Credentials

TERMS = Terms(created_by="ann", ttl_seconds=60, key="key")


def allocation(credentials: Credentials) -> Allocation:
    return Allocation(
        id=UUID(int=1), fqdn="acme.omani.works", mode=Mode.POOL, state=State.RESERVED, reserved_at=datetime.now(UTC),
        credentials=credentials,
    )  # fmt: skip


# --- prepared ----------------------------------------------------------------------------------------


def test_prepared_without_a_key() -> None:
    """Without an Idempotency-Key a reservation has a fresh token, and nothing that would make it again is stored."""
    (one, stored), (other, _) = (prepared(["acme"], Terms()) for _ in range(2))
    assert one != other
    assert stored.admit(tokens.digest(one))
    assert not stored.admit(tokens.digest(other))
    assert (stored.token_nonce, stored.idempotency_digest) == (None, None)


def test_prepared_with_a_key() -> None:
    """With an Idempotency-Key the token can be made again from it and what is stored; neither of them is stored."""
    token, stored = prepared(["acme"], TERMS)
    assert stored.token_nonce is not None
    assert tokens.made(stored.token_nonce, "key") == token
    assert stored.admit(tokens.digest(token))
    assert stored.idempotency_digest == tokens.digest("key")
    another, _ = prepared(["acme"], TERMS)
    assert another != token  # another nonce


@pytest.mark.parametrize(
    ("request_", "terms"),
    [
        (["acme2"], TERMS), (["acme", "byo-api"], TERMS), (["acme"], replace(TERMS, created_by="bob")),
        (["acme"], replace(TERMS, created_by=None)), (["acme"], replace(TERMS, ttl_seconds=61)),
        (["acme"], replace(TERMS, tenant="team")),
    ],
)  # fmt: skip
def test_another_request_has_another_digest(request_: list[str], terms: Terms) -> None:
    """Whatever is asked for differently, the digest of the request differs."""
    assert prepared(request_, terms)[1].request_digest != prepared(["acme"], TERMS)[1].request_digest


def test_the_same_request_has_the_same_digest() -> None:
    """The same request has the same digest, whatever its key; no tenant and an empty one are the same."""
    digest = prepared(["acme"], TERMS)[1].request_digest
    for terms in (TERMS, replace(TERMS, key="another"), replace(TERMS, key=None), replace(TERMS, tenant="")):
        assert prepared(["acme"], terms)[1].request_digest == digest


# --- repeated ----------------------------------------------------------------------------------------


def test_repeated() -> None:
    """The same request with the same Idempotency-Key gets what it made before, and the token that it had then."""
    token, stored = prepared(["acme"], TERMS)
    again = repeated(allocation(stored), TERMS, prepared(["acme"], TERMS)[1])
    assert again is not None
    assert (again.token, again.allocation.credentials, again.warning) == (token, stored, None)


@pytest.mark.parametrize(
    ("made", "asked"),
    [
        (None, TERMS), (TERMS, Terms(created_by="ann", ttl_seconds=60)), (Terms(created_by="ann", ttl_seconds=60), TERMS),
        (TERMS, replace(TERMS, key="another")),
    ],
)  # fmt: skip
def test_not_repeated(made: Terms | None, asked: Terms) -> None:
    """Nothing there, no key, none then, or another one: it is not what this request made before."""
    found = None if made is None else allocation(prepared(["acme"], made)[1])
    assert repeated(found, asked, prepared(["acme"], asked)[1]) is None


def test_repeated_of_a_declared_name() -> None:
    """A declared name was made by no key."""
    assert repeated(allocation(Credentials(token_digest=b"")), TERMS, prepared(["acme"], TERMS)[1]) is None


def test_repeated_with_another_request() -> None:
    """Who sends the key of an earlier request with another one hears that, instead of getting what they did not ask."""
    _, stored = prepared(["acme"], TERMS)
    terms = replace(TERMS, ttl_seconds=61)
    with pytest.raises(IdempotencyKeyReused):
        repeated(allocation(stored), terms, prepared(["acme"], terms)[1])


def test_nothing_shows_the_token() -> None:
    """A reservation in a log or a traceback has its name alone."""
    token, stored = prepared(["acme"], TERMS)
    assert repr(Held(allocation=allocation(stored), token=token)) == "Held(acme.omani.works)"


# --- time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "expected"), [(None, 600), (1, 1), (604800, 604800)])
def test_hold_time(seconds: int | None, expected: int) -> None:
    """A name is held for as long as the caller says, up to seven days; for the usual time if they say nothing."""
    nothing: Any = None
    assert Reservations(nothing, timedelta(seconds=600)).hold_time(seconds) == timedelta(seconds=expected)


@pytest.mark.parametrize("seconds", [0, -1, 604801])
def test_hold_time_that_is_none(seconds: int) -> None:
    """No time, and more than seven days, is refused."""
    nothing: Any = None
    with pytest.raises(InvalidTtl):
        Reservations(nothing, timedelta(seconds=600)).hold_time(seconds)
