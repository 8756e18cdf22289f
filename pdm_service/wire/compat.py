"""The bodies and replies of the compatibility routes, in the words of the existing provisioner."""

from datetime import datetime
from typing import Literal

from msgspec import field

from pdm_service.wire.allocations import AllocationReply
from pdm_service.wire.base import CompatRequest, Reply


class CompatReserveRequest(CompatRequest, kw_only=True):
    """Hold a name, as the existing provisioner asks for it."""

    subdomain: str
    created_by: str | None = None


class CompatCommitRequest(CompatRequest, kw_only=True):
    """Publish a name, as the existing provisioner asks for it."""

    subdomain: str
    reservation_token: str
    sovereign_fqdn: str | None = field(name="sovereignFQDN", default=None)
    load_balancer_ip: str | None = field(name="loadBalancerIP", default=None)


class CompatReleaseRequest(CompatRequest, kw_only=True):
    """Give a name back, as the existing provisioner asks for it."""

    subdomain: str | None = None


class CompatValidateRequest(CompatRequest, kw_only=True):
    """Test a registrar token, as the existing provisioner asks for it."""

    domain: str | None = None
    token: str | None = None


class CompatSetNsRequest(CompatRequest, kw_only=True):
    """Change a domain's nameservers, as the existing provisioner asks for it."""

    domain: str | None = None
    token: str | None = None
    nameservers: list[str] | None = None
    glue_ip: str | list[str] | None = field(name="glueIP", default=None)
    """The address of the nameservers inside the domain, or one for each of them, in order."""
    acknowledge: list[str] = field(default_factory=list)
    """BYO-DS: change them although the domain has a DS, or may have one."""


class CompatReservedReply(Reply, kw_only=True):
    """The reserved labels, sorted."""

    reserved: list[str]


class CompatReservation(Reply, kw_only=True):
    """A fresh reservation, as the existing provisioner reads it."""

    pool_domain: str
    subdomain: str
    state: Literal["reserved", "active"]
    reserved_at: datetime
    expires_at: datetime | None = None
    reservation_token: str
    created_by: str


class CompatFreed(Reply, kw_only=True):
    """A released allocation; the warning says that DNS is still being removed."""

    freed: AllocationReply
    warning: str | None = None


class CompatList(Reply, kw_only=True):
    """All allocations of a pool domain."""

    pool_domain: str
    allocations: list[AllocationReply]
