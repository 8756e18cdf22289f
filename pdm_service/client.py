"""The typed client: one method for each call of the API, raising the errors that the service answers.

It needs none of what the service itself needs. What the contract makes safe to repeat is repeated, for some time,
where the service cannot be reached, or says 503: reading, reserving (with an Idempotency-Key, made here unless
given), renewing, committing, releasing with the token, declaring. What is sent to a registrar is not.

    async with Client("https://pdm.example", key=key) as pdm:
        held = await pdm.reserve("omani.works", "omantel")
        await pdm.commit(held.fqdn, held.reservation_token, ["192.0.2.7"])
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from pdm_service import errors, tls
from pdm_service.errors import NotFound, PdmError, StoreUnavailable
from pdm_service.findings import Finding
from pdm_service.wire import (
    AllocationPage,
    AllocationReply,
    CheckReply,
    DelegationReply,
    EventPage,
    EventReply,
    NameserversReply,
    PoolReply,
    PoolsReply,
    PreflightReply,
    RegistrarReply,
    RegistrarsReply,
    ReservedReply,
    UndoReply,
    ValidateReply,
)

T = TypeVar("T")

CALL_SECONDS = 20.0
"""The service answers within 15."""
RETRY_SECONDS = 30.0


class Unreachable(PdmError):  # noqa: N818 - named as its siblings are
    """The service cannot be reached, or does not answer as this API does. What was asked may have been done."""

    code, status = "service-unreachable", 503
    retry_after_seconds = 2


class _Problem(msgspec.Struct):
    error: str = ""
    detail: str = ""
    supported: list[str] = []
    suggestion: str | None = None
    problems: list[Finding] = []


def _codes(base: type[PdmError]) -> dict[str, type[PdmError]]:
    found = {base.code: base} if hasattr(base, "code") else {}
    for one in base.__subclasses__():
        found |= _codes(one)
    return found


class Client:
    """A client of one service. Methods raise the errors of `pdm_service.errors`, and Unreachable."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        client_id: str | None = None,
        ca_file: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`key` is an API key or a ServiceAccount's token; with `client_id` it is sent as Basic.

        `ca_file` has the CAs that the service's certificate may be of, by default the usual ones; `certificate` is the
        client's own, and the file of its key. Raises OSError, ValueError where these files are of no use.
        `retry_seconds` is for how long a call that is safe to repeat is repeated; 0 is never.
        """
        headers = {"User-Agent": "pdm-client"}
        if key and client_id is None:
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers=headers,
            auth=(client_id, key) if key and client_id is not None else None,
            verify=tls.trusting(ca_file, certificate),
            timeout=CALL_SECONDS,
        )
        self._retry_seconds = retry_seconds

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._http.aclose()

    # --- the verbs -------------------------------------------------------------------------------

    async def check(self, pool_domain: str, subdomain: str, *, tenant: str | None = None) -> CheckReply:
        """Return whether a name is free."""
        query = _given(poolDomain=pool_domain, subdomain=subdomain, tenant=tenant)
        return await self._get("/v1/check", CheckReply, query)

    async def reserve(
        self,
        pool_domain: str,
        subdomain: str,
        *,
        created_by: str | None = None,
        ttl_seconds: int | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
        allocation_key: str | None = None,
    ) -> AllocationReply:
        """Hold a name; the reply has its `reservation_token`."""
        body = _given(poolDomain=pool_domain, subdomain=subdomain, createdBy=created_by, ttlSeconds=ttl_seconds)
        return await self._reserve({**body, **_given(tenant=tenant)}, idempotency_key, allocation_key)

    async def reserve_domain(
        self,
        domain: str,
        *,
        mode: str = "byo-manual",
        created_by: str | None = None,
        ttl_seconds: int | None = None,
        tenant: str | None = None,
        acknowledge: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> AllocationReply:
        """Open a claim on a domain that a customer brings; the reply has the `challenge` that proves it."""
        body = _given(mode=mode, domain=domain, createdBy=created_by, ttlSeconds=ttl_seconds, tenant=tenant)
        return await self._reserve({**body, **_given(acknowledge=list(acknowledge) or None)}, idempotency_key, None)

    async def _reserve(
        self, body: Mapping[str, object], key: str | None, allocation_key: str | None
    ) -> AllocationReply:
        headers = {"Idempotency-Key": key or str(uuid.uuid4()), **_given(**{"PDM-Allocation-Key": allocation_key})}
        return await self._safe("POST", "/v1/reserve", AllocationReply, body, headers=headers)

    async def renew(self, fqdn: str, token: str, *, ttl_seconds: int | None = None) -> AllocationReply:
        """Extend a reservation."""
        body = _given(fqdn=fqdn, reservationToken=token, ttlSeconds=ttl_seconds)
        return await self._safe("POST", "/v1/renew", AllocationReply, body)

    async def commit(
        self,
        fqdn: str,
        token: str,
        addresses: Sequence[str],
        *,
        sovereign_fqdn: str | None = None,
        registrar: str | None = None,
        registrar_token: str | None = None,
        acknowledge: Sequence[str] = (),
        imports: Sequence[tuple[str, str]] = (),
    ) -> AllocationReply:
        """Publish a name; what DNS has of it by now stands in `dns`. With a registrar's token it is sent once."""
        body: dict[str, object] = {
            "fqdn": fqdn,
            "reservationToken": token,
            "loadBalancerIPs": list(addresses),
            **_given(sovereignFQDN=sovereign_fqdn, registrar=registrar, registrarToken=registrar_token),
        }
        if acknowledge:
            body["acknowledge"] = list(acknowledge)
        if imports:
            body["import"] = [{"name": name, "type": rtype} for name, rtype in imports]
        call = self._once if registrar_token else self._safe
        return await call("POST", "/v1/commit", AllocationReply, body)

    async def release(
        self,
        fqdn: str,
        token: str | None = None,
        *,
        force: bool = False,
        registrar: str | None = None,
        registrar_token: str | None = None,
    ) -> AllocationReply | None:
        """Give a name back; None if a repeated call found it given back already.

        With the token it is repeated: that can only take away what the token's holder has.
        """
        body: dict[str, object] = {
            "fqdn": fqdn,
            **_given(reservationToken=token, registrar=registrar, registrarToken=registrar_token),
        }
        if force:
            body["force"] = True
        if token is None or registrar_token:
            return await self._once("POST", "/v1/release", AllocationReply, body)
        tries = 0

        async def attempt() -> AllocationReply | None:
            nonlocal tries
            tries += 1
            try:
                return await self._once("POST", "/v1/release", AllocationReply, body)
            except NotFound:
                if tries > 1:
                    return None
                raise

        return await self._again(attempt)

    async def declare(
        self,
        fqdn: str,
        owner: str,
        *,
        addresses: Sequence[str] = (),
        created_by: str | None = None,
        sovereign_fqdn: str | None = None,
        allocation_key: str | None = None,
    ) -> AllocationReply:
        """Make a name what it should be, without a token: reserved, or published where it has addresses."""
        label, _, pool = fqdn.partition(".")
        body: dict[str, object] = {
            "poolDomain": pool,
            "subdomain": label,
            **_given(createdBy=created_by, sovereignFQDN=sovereign_fqdn),
        }
        if addresses:
            body["loadBalancerIPs"] = list(addresses)
        headers = _given(**{"PDM-Allocation-Key": allocation_key})
        return await self._safe("PUT", _path(fqdn), AllocationReply, body, query={"owner": owner}, headers=headers)

    async def withdraw(self, fqdn: str, owner: str) -> AllocationReply:
        """Give back what was declared."""
        return await self._safe("DELETE", _path(fqdn), AllocationReply, query={"owner": owner})

    # --- customers' domains ------------------------------------------------------------------------

    async def validate(self, registrar: str, domain: str, token: str) -> ValidateReply:
        """Test a registrar's token."""
        body = {"registrar": registrar, "domain": domain, "token": token}
        return await self._once("POST", "/v1/validate", ValidateReply, body)

    async def preflight(self, domain: str) -> PreflightReply:
        """Return what a change of nameservers would meet."""
        return await self._safe("POST", "/v1/preflight", PreflightReply, {"domain": domain})

    async def roll_back(self, fqdn: str, token: str, registrar: str, registrar_token: str) -> AllocationReply:
        """Give a domain its former nameservers back."""
        body = {
            "fqdn": fqdn, "reservationToken": token, "registrar": registrar, "registrarToken": registrar_token
        }  # fmt: skip
        return await self._once("POST", "/v1/rollback", AllocationReply, body)

    async def undo(self, fqdn: str) -> UndoReply:
        """Return how a domain was before its nameservers were changed."""
        return await self._get(f"{_path(fqdn)}/undo", UndoReply)

    async def delegation(self, domain: str, *, fresh: bool = False) -> DelegationReply:
        """Return how far a delegation has come."""
        query = {"fresh": "true"} if fresh else {}
        return await self._get(f"/v1/delegations/{quote(domain, safe='')}", DelegationReply, query)

    # --- reading -------------------------------------------------------------------------------------

    async def find(self, fqdn: str, *, owner: str | None = None) -> AllocationReply:
        """Return one allocation."""
        return await self._get(_path(fqdn), AllocationReply, _given(owner=owner))

    async def allocations(
        self,
        *,
        pool_domain: str | None = None,
        mode: str | None = None,
        state: str | None = None,
        created_by: str | None = None,
        tenant: str | None = None,
    ) -> AsyncIterator[AllocationReply]:
        """Yield all allocations, by name."""
        query = _given(poolDomain=pool_domain, mode=mode, state=state, createdBy=created_by, tenant=tenant)
        cursor: str | None = ""
        while cursor is not None:
            page = await self._get("/v1/allocations", AllocationPage, {**query, "limit": 500, "cursor": cursor})
            for one in page.allocations:
                yield one
            cursor = page.next_cursor

    async def events(self, fqdn: str) -> AsyncIterator[EventReply]:
        """Yield a name's audit trail, oldest first."""
        cursor: str | None = ""
        while cursor is not None:
            page = await self._get(f"{_path(fqdn)}/events", EventPage, {"limit": 500, "cursor": cursor})
            for one in page.events:
                yield one
            cursor = page.next_cursor

    async def pools(self) -> list[PoolReply]:
        """Return the pool domains."""
        return (await self._get("/v1/pools", PoolsReply)).pools

    async def nameservers(self) -> list[str]:
        """Return the platform's nameservers."""
        return (await self._get("/v1/nameservers", NameserversReply)).nameservers

    async def reserved(self) -> ReservedReply:
        """Return the reserved labels."""
        return await self._get("/v1/reserved", ReservedReply)

    async def registrars(self) -> list[RegistrarReply]:
        """Return the registrars."""
        return (await self._get("/v1/registrars", RegistrarsReply)).registrars

    # --- the wire ------------------------------------------------------------------------------------

    async def _get(self, path: str, kind: type[T], query: Mapping[str, object] | None = None) -> T:
        return await self._safe("GET", path, kind, query=query)

    async def _safe(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        return await self._again(lambda: self._once(method, path, kind, body, query=query, headers=headers))

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call until it is answered, or for `retry_seconds`."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_may_pass), wait=_pause, stop=stop_after_delay(self._retry_seconds), reraise=True
        ):
            with attempt:
                return await call()
        raise AssertionError  # the last attempt raises

    async def _once(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        content = None if body is None else msgspec.json.encode(body)
        more = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
        try:
            reply = await self._http.request(
                method,
                path,
                content=content,
                headers=more,
                params=dict(query or {}),  # type: ignore[arg-type]
            )
            if reply.is_success:
                return msgspec.json.decode(reply.content, type=kind)
        except httpx.HTTPError as error:
            why = tls.failure(error) or type(error).__name__
            raise Unreachable(f"{self._http.base_url} cannot be reached: {why}") from error
        except msgspec.DecodeError as error:
            raise Unreachable(f"{self._http.base_url} does not answer as this API does") from error
        raise _told(reply)


def _told(reply: httpx.Response) -> PdmError:
    """Return the error that a reply describes."""
    try:
        problem = msgspec.json.decode(reply.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    kind = _CODES.get(problem.error)
    if kind is None:
        # A proxy's, or of a later release.
        found: PdmError = Unreachable(
            f"the service answers {reply.status_code} {problem.error or HTTPStatus(reply.status_code).phrase}: "
            f"{problem.detail}"
        )
    elif kind is errors.UnsupportedRegistrar:
        found = errors.UnsupportedRegistrar(problem.detail, tuple(problem.supported))
    elif kind is errors.PreflightBlocked:
        found = errors.PreflightBlocked(problem.detail, tuple(problem.problems))
    else:
        found = kind(problem.detail)
    found.suggestion = problem.suggestion
    wait = reply.headers.get("retry-after", "")
    if wait.isdecimal():
        found.retry_after_seconds = int(wait)
    return found


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Unreachable | StoreUnavailable | errors.AuthenticationUnavailable)


_pause = wait_random_exponential(multiplier=0.2, max=3.0)


def _given(**fields: T | None) -> dict[str, T]:
    return {name: value for name, value in fields.items() if value is not None}


def _path(fqdn: str) -> str:
    return f"/v1/allocations/{quote(fqdn, safe='')}"


_CODES = _codes(PdmError)
