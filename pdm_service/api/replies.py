"""How a reply shows an allocation, on /v1 and on the compatibility routes alike."""

from collections.abc import Iterable
from typing import Annotated, Protocol

from litestar import Response
from litestar.params import HeaderParameter

from pdm_service import names
from pdm_service.callers import Actor
from pdm_service.callers.gate import calling
from pdm_service.findings import Finding
from pdm_service.model.allocation import CHALLENGE_LABEL, Allocation, Claim, DnsState, Mode
from pdm_service.model.observation import ChallengeView
from pdm_service.telemetry import logs
from pdm_service.wire import AllocationReply, Challenge, ChallengeSeen, Dnssec, DnsStatus

AllocationKey = Annotated[str | None, HeaderParameter(name="PDM-Allocation-Key", required=False)]
IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", required=False)]


class Tell(Protocol):
    """Makes a reply of an allocation; only the caller for whom the token was made sees it."""

    def __call__(self, allocation: Allocation, token: str | None = None, warning: str | None = None) -> AllocationReply:
        """Return the reply."""
        ...


def teller(nameservers: tuple[str, ...]) -> Tell:
    """Return the function that makes a reply of an allocation."""

    def tell(allocation: Allocation, token: str | None = None, warning: str | None = None) -> AllocationReply:
        addresses = list(allocation.load_balancer_ips)
        waits = allocation.dns.state is DnsState.PUBLISHED and not allocation.reached
        dns = DnsStatus(
            state="pending" if waits else allocation.dns.state.value,
            needs=allocation.needs.value if allocation.needs and allocation.committed_at else None,
            last_error=allocation.dns.error,
            updated_at=allocation.dns.updated_at,
        )
        own = allocation.mode is not Mode.POOL
        return AllocationReply(
            fqdn=allocation.fqdn,
            unicode=names.unicode(allocation.fqdn),
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
            dnssec=Dnssec(ds=list(allocation.dns.ds), publish=allocation.announce_ds if own else None)
            if allocation.dns.ds
            else None,
            dns=dns,
            proof=allocation.proof.value if allocation.proof else None,
            challenge=_challenge(allocation),
            keep_until=allocation.not_before,
            reservation_token=token,
            tenant=allocation.tenant,
            warning=warning,
        )

    return tell


def _challenge(allocation: Allocation) -> Challenge | None:
    if not isinstance(allocation, Claim) or allocation.proof is not None:
        return None
    looked = allocation.looked
    return Challenge(
        name=f"{CHALLENGE_LABEL}.{allocation.fqdn}",
        type="TXT",
        value=allocation.challenge,
        looked_at=looked.at if looked else None,
        seen=[_seen(view) for view in looked.seen] if looked else None,
    )


def _seen(view: ChallengeView) -> ChallengeSeen:
    return ChallengeSeen(
        name=view.name,
        address=view.address or None,
        state=view.state,
        texts=list(view.texts) or None,
        alias=view.alias,
        doubled=view.doubled,
        error=view.error,
    )


def actor() -> Actor:
    """Return who is asking, for the audit trail."""
    return calling.get().actor(logs.request_id.get())


def committed(
    allocation: Allocation, tell: Tell, problems: Iterable[Finding] = ()
) -> Response[AllocationReply]:  # fmt: skip
    """Answer a commit: 200 if DNS has it, else 202."""
    reply = tell(allocation)
    reply.problems = list(problems) or None
    return Response(reply, status_code=200 if allocation.reached else 202)
