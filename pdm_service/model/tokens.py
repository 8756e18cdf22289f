"""Reservation tokens: how they are made and compared. Pure, but for the randomness."""

import hashlib
import hmac
from uuid import UUID, uuid4

import msgspec

from pdm_service.errors import InvalidFormat

_KEY_LIMIT = 255


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of the secrets of a holding. Shown in no reply and no log: its repr is empty."""

    token_digest: bytes
    """SHA-256 of the reservation token; empty where there is none, which no token matches."""
    token_nonce: bytes | None = None
    """What the token is derived from, together with the caller's Idempotency-Key."""
    idempotency_digest: bytes | None = None
    """SHA-256 of the Idempotency-Key of the reserve."""
    request_digest: bytes | None = None
    """SHA-256 of what that reserve asked for."""

    def __repr__(self) -> str:
        """Show nothing."""
        return "Credentials()"

    def admit(self, token_digest: bytes) -> bool:
        """Return whether a token is that of the holding, in constant time."""
        return hmac.compare_digest(self.token_digest, token_digest)


def digest(secret: str) -> bytes:
    """Return what is stored of a token or key: its SHA-256."""
    return hashlib.sha256(secret.strip().encode("utf-8", "surrogatepass")).digest()


def made(nonce: bytes, key: str | None) -> str:
    """Return a fresh random token; with an Idempotency-Key the one that key and nonce always make.

    So the reply to a retry has a token that works, as has the reply that was lost, though neither the
    token nor the key is stored.
    """
    if key is None:
        return str(uuid4())
    return str(UUID(bytes=hmac.digest(nonce, key.strip().encode(), "sha256")[:16], version=4))


def checked_key(key: str | None) -> str | None:
    """Return an Idempotency-Key as it is; raises InvalidFormat."""
    if key is not None and not (0 < len(key) <= _KEY_LIMIT and key.isascii() and key.isprintable()):
        raise InvalidFormat(f"an Idempotency-Key has 1 to {_KEY_LIMIT} printable ASCII characters")
    return key
