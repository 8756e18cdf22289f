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
    ├── StoreUnavailable 503     store-unavailable
    ├── UnsupportedRegistrar 404 unsupported-registrar ├── MissingDomain 422    missing-domain
    ├── MissingToken 422         missing-token     ├── MissingNameservers 422   missing-nameservers
    ├── PreflightBlocked 409     preflight-blocked ├── StillDelegated 409       still-delegated
    ├── NoUndoSheet 409          no-undo-sheet     ├── ChangeUnderWay 409       change-under-way
    ├── DsPresent 409            ds-present        ├── DsUnknown 409            ds-unknown
    ├── Unauthenticated 401      unauthenticated   ├── MissingScope 403         missing-scope
    ├── PoolNotAllowed 403       pool-not-allowed  ├── QuotaExceeded 429        quota-exceeded
    ├── TooManyAttempts 429      too-many-attempts ├── NotCanonical 422         not-canonical
    ├── AuthenticationUnavailable 503 authentication-unavailable
    └── RegistrarFailure, what a registrar's adapter reports
        ├── InvalidToken 401         invalid-token           ├── IpNotAllowed 403        ip-not-allowed
        ├── AccountNotEligible 403   account-not-eligible    ├── InsufficientScope 403   insufficient-scope
        ├── DomainNotInAccount 403   domain-not-in-account   ├── RegistryLocked 409      registry-locked
        ├── NsManagedByRegistrar 409 ns-managed-by-registrar ├── UnknownNameserver 422   unknown-nameserver
        ├── RegistrarRejected 422    registrar-rejected      ├── UnsupportedOperation 422 unsupported-operation
        ├── RateLimited 429          rate-limited            ├── ApiUnavailable 502      api-unavailable
        └── OutcomeUnclear 502       outcome-unclear

The codes are part of the wire contract; `api/problems.py` alone turns them into replies.
"""

from typing import ClassVar

from pdm_service.findings import Finding


class PdmError(Exception):
    """Base of all errors that a caller gets: a code, a status and one sentence to act on."""

    code: ClassVar[str]
    status: ClassVar[int]
    retry_after_seconds: int | None = None
    suggestion: str | None = None
    """Of a name that was refused: the one that was probably meant."""

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
    """The token is not the one of the current holder."""

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
    """The reservation has expired."""

    code, status = "reservation-expired", 410


class PayloadTooLarge(PdmError):
    """The body is larger than the limit."""

    code, status = "payload-too-large", 413


class UnsupportedMediaType(PdmError):
    """The body's content type is not JSON."""

    code, status = "unsupported-media-type", 415


class InvalidFormat(PdmError):
    """The text is not a name of the wanted form."""

    code, status = "invalid-format", 422

    def __init__(self, detail: str, suggestion: str | None = None) -> None:
        """`suggestion` is the name that was probably meant; it ends the sentence and goes into the reply."""
        super().__init__(f"{detail}; did you mean {suggestion}?" if suggestion else detail)
        self.suggestion = suggestion


class ReservedName(PdmError):
    """The label is on a reserved list."""

    code, status = "reserved-name", 422


class UnsupportedPool(PdmError):
    """The domain is not one of the pool domains."""

    code, status = "unsupported-pool", 422

    def __init__(self, detail: str, suggestion: str | None = None) -> None:
        """`suggestion` is the pool domain that was probably meant."""
        super().__init__(detail)
        self.suggestion = suggestion


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


class UnsupportedRegistrar(PdmError):
    """There is no adapter for that registrar."""

    code, status = "unsupported-registrar", 404

    def __init__(self, detail: str, supported: tuple[str, ...] = ()) -> None:
        """`supported` goes into the reply next to the sentence."""
        super().__init__(detail)
        self.supported = supported


class MissingDomain(PdmError):
    """The request names no domain."""

    code, status = "missing-domain", 422


class MissingToken(PdmError):
    """The request has no registrar token."""

    code, status = "missing-token", 422


class MissingNameservers(PdmError):
    """The request names fewer nameservers than a domain needs."""

    code, status = "missing-nameservers", 422


class PreflightBlocked(PdmError):
    """Something was found that forbids a change of nameservers, or needs the caller's acknowledgement."""

    code, status = "preflight-blocked", 409

    def __init__(self, detail: str, problems: tuple[Finding, ...] = ()) -> None:
        """`problems` go into the reply next to the sentence."""
        super().__init__(detail)
        self.problems = problems


class StillDelegated(PdmError):
    """The domain's parent zone still sends everybody to the platform."""

    code, status = "still-delegated", 409


class NoUndoSheet(PdmError):
    """The service has not changed this domain's nameservers, so there is nothing to undo."""

    code, status = "no-undo-sheet", 409


class ChangeUnderWay(PdmError):
    """The registrar has a change of this domain whose outcome is not known yet."""

    code, status = "change-under-way", 409
    retry_after_seconds = 30


class DsPresent(PdmError):
    """The domain has a DS, or resolvers may still have one, that does not fit the wanted nameservers."""

    code, status = "ds-present", 409


class DsUnknown(PdmError):
    """It could not be found out whether the domain has a DS that does not fit the wanted nameservers."""

    code, status = "ds-unknown", 409
    retry_after_seconds = 30


class Unauthenticated(PdmError):
    """The request has no credential, or one that is not (or no longer) valid."""

    code, status = "unauthenticated", 401


class MissingScope(PdmError):
    """The client's credential does not allow this."""

    code, status = "missing-scope", 403


class PoolNotAllowed(PdmError):
    """The client may not take names of this pool domain."""

    code, status = "pool-not-allowed", 403


class QuotaExceeded(PdmError):
    """The client, or its tenant, has or does as much as it may."""

    code, status = "quota-exceeded", 429
    retry_after_seconds = 60

    def __init__(self, detail: str, retry_after_seconds: int = 60) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class TooManyAttempts(PdmError):
    """Too many credentials that are not valid came from this address."""

    code, status = "too-many-attempts", 429
    retry_after_seconds = 30


class AuthenticationUnavailable(PdmError):
    """The Kubernetes API server, which knows who a token's is, does not answer."""

    code, status = "authentication-unavailable", 503
    retry_after_seconds = 2


class NotCanonical(PdmError):
    """A value of a declared allocation is not in the form in which the service returns it."""

    code, status = "not-canonical", 422


class RegistrarFailure(PdmError):
    """Base of what a registrar's adapter reports."""

    def __init__(self, detail: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class InvalidToken(RegistrarFailure):
    """The registrar refuses the token, or it has not the written form."""

    code, status = "invalid-token", 401


class DomainNotInAccount(RegistrarFailure):
    """The domain is not in the registrar's account."""

    code, status = "domain-not-in-account", 403


class InsufficientScope(RegistrarFailure):
    """The token works, but may not do this."""

    code, status = "insufficient-scope", 403


class AccountNotEligible(RegistrarFailure):
    """The registrar does not open its API to this account."""

    code, status = "account-not-eligible", 403


class IpNotAllowed(RegistrarFailure):
    """The registrar does not take the token from this service's address."""

    code, status = "ip-not-allowed", 403


class NsManagedByRegistrar(RegistrarFailure):
    """The registrar lets nobody change this domain's nameservers."""

    code, status = "ns-managed-by-registrar", 409


class RegistryLocked(RegistrarFailure):
    """The domain's state forbids the change."""

    code, status = "registry-locked", 409


class UnknownNameserver(RegistrarFailure):
    """The registrar or its registry does not know a nameserver."""

    code, status = "unknown-nameserver", 422


class RegistrarRejected(RegistrarFailure):
    """The registrar refuses the change."""

    code, status = "registrar-rejected", 422


class UnsupportedOperation(RegistrarFailure):
    """The registrar's API cannot do this."""

    code, status = "unsupported-operation", 422


class RateLimited(RegistrarFailure):
    """The registrar takes no more requests for now."""

    code, status = "rate-limited", 429


class ApiUnavailable(RegistrarFailure):
    """The registrar's API does not answer, or not in a way that can be understood."""

    code, status = "api-unavailable", 502


class OutcomeUnclear(RegistrarFailure):
    """The registrar may or may not have made the change."""

    code, status = "outcome-unclear", 502
