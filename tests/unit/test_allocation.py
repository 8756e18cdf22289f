"""What an allocation says of itself."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from pdm_service.model.allocation import Allocation, Dns, DnsState, Mode, Needs, Proof, State
from pdm_service.model.tokens import Credentials


def allocation(*, dns: DnsState = DnsState.PENDING, **more: object) -> Allocation:
    values = {
        "id": UUID(int=1), "fqdn": "acme.omani.works", "mode": Mode.POOL, "state": State.ACTIVE, "dns": Dns(state=dns),
        "reserved_at": datetime.now(UTC), "credentials": Credentials(token_digest=b""), **more,
    }  # fmt: skip
    return Allocation(**values)


@pytest.mark.parametrize(
    ("dns", "expected"),
    [(DnsState.NONE, True), (DnsState.PUBLISHED, True), (DnsState.PENDING, False), (DnsState.REMOVING, False)],
)
def test_settled_by_dns_state(dns: DnsState, expected: bool) -> None:
    """An allocation is settled when DNS has what its state wants."""
    assert expected is allocation(dns=dns).settled
    assert len(DnsState) == 4


@pytest.mark.parametrize(
    ("dns", "needs", "announces", "expected"),
    [
        (DnsState.PUBLISHED, None, False, True), (DnsState.PENDING, None, False, False),
        (DnsState.NONE, None, False, False), (DnsState.PUBLISHED, Needs.REGISTRAR_TOKEN, False, False),
        (DnsState.PUBLISHED, Needs.REGISTRAR_TOKEN, True, True),
    ],
)  # fmt: skip
def test_reached(dns: DnsState, needs: Needs | None, announces: bool, expected: bool) -> None:
    """A holder has what they want once DNS is published and nothing more is needed; a DS that is missing is no more."""
    assert allocation(dns=dns, needs=needs, announce_ds=announces).reached is expected


def test_is_declared_for() -> None:
    """A declared name is its owner's; a name with a token is nobody's in that way, whomever it is for."""
    assert allocation(declared=True, tenant="team").is_declared_for("team")
    assert not allocation(declared=True, tenant="team").is_declared_for("rival")
    assert not allocation(declared=False, tenant="team").is_declared_for("team")


def test_place() -> None:
    """The place in the list of holdings is name and id."""
    assert allocation().place == f"acme.omani.works {UUID(int=1)}"


def test_proofs_that_nobody_can_wait_for() -> None:
    """All proofs are strong but the one that comes to whoever waits."""
    assert [proof for proof in Proof if not proof.strong] == [Proof.TRANSITION]
