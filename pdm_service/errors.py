"""The closed tree of errors that a caller can meet, each with its stable code.

    PdmError
    ├── InvalidBody 400          invalid-body      ├── Conflict 409             conflict
    ├── InvalidQuery 400         invalid-query     ├── AlreadyActive 409        already-active
    ├── TokenMismatch 403        token-mismatch    ├── OverlapsAllocation 409   overlaps-allocation
    ├── NotFound 404             not-found         ├── ReservationExpired 410   reservation-expired
    ├── RequestTimeout 408       request-timeout   ├── PayloadTooLarge 413      payload-too-large
    ├── UnsupportedMediaType 415 unsupported-media-type
    ├── InvalidFormat 422        invalid-format    ├── ReservedName 422         reserved-name
    ├── UnsupportedPool 422      unsupported-pool  ├── InvalidAddress 422       invalid-address
    ├── MissingAddress 422       missing-lb-ip     ├── InvalidText 422          invalid-text
    ├── InvalidTtl 422           invalid-ttl       ├── IdempotencyKeyReused 422 idempotency-key-reused
    └── StoreUnavailable 503     store-unavailable

The codes are part of the wire contract; `api/problems.py` alone turns them into replies.
"""

from typing import ClassVar


class PdmError(Exception):
    """Base of all errors told to a caller: a code, a status and one sentence to act on."""

    code: ClassVar[str]
    status: ClassVar[int]
    retry_after_seconds: ClassVar[int | None] = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidBody(PdmError):
    """The body is not JSON, has a wrong type, or names a field that does not exist."""

    code, status = "invalid-body", 400


class InvalidQuery(PdmError):
    """A query parameter is not usable."""

    code, status = "invalid-query", 400


class TokenMismatch(PdmError):
    """The token is not the one of the present holder."""

    code, status = "token-mismatch", 403


class NotFound(PdmError):
    """There is no such allocation."""

    code, status = "not-found", 404


class RequestTimeout(PdmError):
    """The request's body did not arrive in time."""

    code, status = "request-timeout", 408


class Conflict(PdmError):
    """The name is held, active or on its way out."""

    code, status = "conflict", 409


class AlreadyActive(PdmError):
    """The name is active with other values."""

    code, status = "already-active", 409


class OverlapsAllocation(PdmError):
    """The name lies above or below a pool domain or somebody else's name."""

    code, status = "overlaps-allocation", 409


class ReservationExpired(PdmError):
    """The reservation's time is over."""

    code, status = "reservation-expired", 410


class PayloadTooLarge(PdmError):
    """The body is over the limit."""

    code, status = "payload-too-large", 413


class UnsupportedMediaType(PdmError):
    """The body's content type is not JSON."""

    code, status = "unsupported-media-type", 415


class InvalidFormat(PdmError):
    """The text is not a name of the wanted form."""

    code, status = "invalid-format", 422


class ReservedName(PdmError):
    """The label is on a reserved list."""

    code, status = "reserved-name", 422


class UnsupportedPool(PdmError):
    """The domain is not one of the pool domains."""

    code, status = "unsupported-pool", 422


class InvalidAddress(PdmError):
    """The text is not an address that a load balancer can have."""

    code, status = "invalid-address", 422


class MissingAddress(PdmError):
    """The commit names no load balancer address."""

    code, status = "missing-lb-ip", 422


class InvalidText(PdmError):
    """A free text is too long, or holds braces or characters that cannot be printed."""

    code, status = "invalid-text", 422


class InvalidTtl(PdmError):
    """The wanted hold time is out of bounds."""

    code, status = "invalid-ttl", 422


class IdempotencyKeyReused(PdmError):
    """The key was used before, for another request."""

    code, status = "idempotency-key-reused", 422


class StoreUnavailable(PdmError):
    """PostgreSQL cannot be reached, or does not answer in time."""

    code, status = "store-unavailable", 503
    retry_after_seconds = 2
