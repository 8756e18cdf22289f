"""Reservation tokens: how they are made and compared, and that nothing shows them."""

import hashlib
from uuid import UUID

import pytest

from pdm_service.errors import InvalidFormat
from pdm_service.model import tokens
from pdm_service.model.tokens import Credentials

SECRETS = Credentials(
    token_digest=tokens.digest("token"), token_nonce=b"nonce", idempotency_digest=b"key", request_digest=b"request"
)


def test_digest() -> None:
    """What is stored of a token is its SHA-256, whatever white space it came with."""
    assert tokens.digest("token") == hashlib.sha256(b"token").digest()
    assert tokens.digest(" token\n") == tokens.digest("token")
    assert tokens.digest("Token") != tokens.digest("token")


def test_digest_of_anything() -> None:
    """Whatever a caller sends as a token has a digest, also what is no text that could be encoded."""
    assert len(tokens.digest("\ud800")) == 32
    assert len(tokens.digest("")) == 32


def test_a_token_without_a_key_is_random() -> None:
    """Tokens without an Idempotency-Key are UUIDs, and never the same."""
    made = {tokens.made(b"nonce", None) for _ in range(100)}
    assert len(made) == 100
    assert {UUID(one).version for one in made} == {4}


def test_a_token_with_a_key_is_made_again() -> None:
    """With an Idempotency-Key nonce and key always make the same token, a UUID; another of either makes another."""
    token = tokens.made(b"nonce", "key")
    assert tokens.made(b"nonce", "key") == token
    assert UUID(token).version == 4
    assert len({token, tokens.made(b"nonce", "another"), tokens.made(b"another", "key")}) == 3


def test_admit() -> None:
    """Credentials admit their own token alone."""
    assert SECRETS.admit(tokens.digest("token"))
    assert not SECRETS.admit(tokens.digest("another"))
    assert not SECRETS.admit(b"")


def test_an_empty_digest_admits_nobody() -> None:
    """What has no token (a declared name, a condemned one) admits no token, the empty one included."""
    nobody = Credentials(token_digest=b"")
    assert not any(nobody.admit(tokens.digest(token)) for token in ("", " ", "token", "\0"))


def test_credentials_show_nothing() -> None:
    """Neither a log nor a traceback has anything of the secrets."""
    assert repr(SECRETS) == str(SECRETS) == f"{SECRETS}" == "Credentials()"


@pytest.mark.parametrize("key", [None, "k", "a key", "~" * 255])
def test_keys(key: str | None) -> None:
    """An Idempotency-Key is up to 255 printable characters, and is left as it is."""
    assert tokens.checked_key(key) == key


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\t", "k\n", "\0", "schlüssel"])
def test_keys_that_are_none(key: str) -> None:
    """An empty, a longer, an unprintable key is refused, and one that is not ASCII."""
    with pytest.raises(InvalidFormat):
        tokens.checked_key(key)
