"""What only Gandi does; what every adapter does, the conformance suite shows."""

import pytest

from adapters.base import (
    DomainNotInAccount,
    Ds,
    Locked,
    MissingPermission,
    NotSupported,
    Pending,
    Registrar,
    Rejected,
    SetsDs,
)
from played_gandi import PlayedGandi

DOMAIN = "example.com"
NEW = ("ns1.platform.test", "ns2.platform.test")


async def test_change_is_taken_and_carried_out_later(server: PlayedGandi, registrar: Registrar) -> None:
    """A change that is taken is pending, with nothing to ask about it, until it is on record."""
    change = await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert isinstance(change, Pending)
    assert change.operation is None
    server.settle()
    assert await registrar.get_nameservers(server.token, DOMAIN) == NEW


async def test_domain_of_somebody_else(server: PlayedGandi, registrar: Registrar) -> None:
    """403 for a domain that the token's list does not have is no lack of a permission."""
    with pytest.raises(DomainNotInAccount):
        await registrar.validate(server.token, "foreign.net")


async def test_token_that_may_only_read(server: PlayedGandi, registrar: Registrar) -> None:
    """A token without the permission is told which one it needs, by the first change."""
    server.may_change = False
    assert (await registrar.validate(server.token, DOMAIN)).can_set_nameservers is None
    with pytest.raises(MissingPermission, match="Manage domain name technical configurations"):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)


async def test_token_that_has_expired(server: PlayedGandi, registrar: Registrar) -> None:
    """Gandi says 403 to an expired token, also for its own list."""
    server.expired = True
    with pytest.raises(MissingPermission, match="may have expired"):
        await registrar.validate(server.token, DOMAIN)


@pytest.mark.parametrize("status", ["serverUpdateProhibited", "pendingTransfer", "redemptionPeriod"])
async def test_domain_whose_status_stops_changes(server: PlayedGandi, registrar: Registrar, status: str) -> None:
    """Such a domain is told by validate, and nothing is sent; a transfer lock alone stops nothing."""
    server.domains[DOMAIN].facts["status"] = ["clientTransferProhibited"]
    assert (await registrar.validate(server.token, DOMAIN)).obstacle is None
    server.domains[DOMAIN].facts["status"] = ["clientTransferProhibited", status]
    assert isinstance((await registrar.validate(server.token, DOMAIN)).obstacle, Locked)
    with pytest.raises(Locked):
        await registrar.set_nameservers(server.token, DOMAIN, NEW)
    assert not server.writes


async def test_nameserver_that_gandi_refuses(server: PlayedGandi, registrar: Registrar) -> None:
    """Wrong parameters are refused in another form than other failures."""
    with pytest.raises(Rejected):
        await registrar.set_nameservers(server.token, DOMAIN, ("ns1.unknown.test", "ns2.unknown.test"))


async def test_new_ds_before_the_old_one_goes(server: PlayedGandi, registrar: Registrar) -> None:
    """There is a DS that fits at any time."""
    assert isinstance(registrar, SetsDs)
    one, two, _ = server.some_ds
    await registrar.set_ds(server.token, DOMAIN, [one])
    await registrar.set_ds(server.token, DOMAIN, [two])
    assert [seen.method for seen in server.writes] == ["POST", "POST", "DELETE"]


@pytest.mark.parametrize("ds", [Ds(1, 13, 2, "ab" * 32), Ds(1, 13, 4, "ab" * 48, 257, "QUJD")])
async def test_ds_that_gandi_cannot_take(server: PlayedGandi, registrar: Registrar, ds: Ds) -> None:
    """A DS without its key, or of another digest, is refused before anything is sent."""
    assert isinstance(registrar, SetsDs)
    with pytest.raises(NotSupported):
        await registrar.set_ds(server.token, DOMAIN, [ds])
    assert not server.seen
