"""How an allocation is told, on /v1 and on the compatibility routes alike."""

from typing import Annotated, Protocol

from litestar import Response
from litestar.params import HeaderParameter

from pdm_service import logs
from pdm_service.model import Allocation, DnsState
from pdm_service.store import Actor
from pdm_service.wire import AllocationReply, Dnssec, DnsStatus

IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", required=False)]


class Tell(Protocol):
    """Makes a reply of an allocation; the token is told only to whom it was made for."""

    def __call__(self, allocation: Allocation, token: str | None = None) -> AllocationReply:
        """Return the reply."""
        ...


def teller(nameservers: tuple[str, ...]) -> Tell:
    """Return the function that makes a reply of an allocation."""

    def tell(allocation: Allocation, token: str | None = None) -> AllocationReply:
        addresses = list(allocation.load_balancer_ips)
        dns = DnsStatus(
            state=allocation.dns_state.value, last_error=allocation.dns_error, updated_at=allocation.dns_updated_at
        )
        return AllocationReply(
            fqdn=allocation.fqdn,
            mode=allocation.mode.value,
            pool_domain=allocation.pool_domain,
            subdomain=allocation.subdomain,
            state=allocation.state.value,
            created_by=allocation.created_by,
            reserved_at=allocation.reserved_at,
            expires_at=allocation.expires_at,
            committed_at=allocation.committed_at,
            sovereign_fqdn=allocation.sovereign_fqdn,
            load_balancer_ips=addresses or None,
            load_balancer_ip=addresses[0] if addresses else None,
            nameservers=list(nameservers),
            dnssec=Dnssec(ds=list(allocation.ds)) if allocation.ds else None,
            dns=dns,
            reservation_token=token,
        )

    return tell


def actor() -> Actor:
    """Return who is asking, for the audit trail."""
    return Actor("api", logs.request_id.get())


def committed(allocation: Allocation, tell: Tell) -> Response[AllocationReply]:
    """Answer a commit: 200 if DNS has it, else 202."""
    return Response(tell(allocation), status_code=200 if allocation.dns_state is DnsState.PUBLISHED else 202)
