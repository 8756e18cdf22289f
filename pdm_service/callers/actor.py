"""Who acts in a transition, and how much they may have."""

from typing import Annotated

from msgspec import Meta, Struct

from pdm_service.errors import PoolNotAllowed

BYO = "byo"
"""Stands in a client's pools for domains that customers bring."""


Limit = Annotated[int, Meta(ge=0, le=1_000_000)]


class Quotas(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """How much one may have, or do in a time; None is no limit."""

    reservations: Limit | None = None
    """Open ones at a time, claims on customers' domains included."""
    names: Limit | None = None
    """Names held at a time, in any state."""
    reservations_per_hour: Limit | None = None
    reservations_per_day: Limit | None = None

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self != UNLIMITED


UNLIMITED = Quotas()


class Actor(Struct, frozen=True):
    """Who makes a transition: for the audit trail, and for what they may change."""

    name: str
    request_id: str | None = None
    everything: bool = False
    """Whether also what others hold."""
    pools: frozenset[str] | None = None
    """Pool domains that they may take names of; None is all."""
    quotas: Quotas = UNLIMITED
    tenant_quotas: Quotas = UNLIMITED
    """Of each of their tenants."""

    @property
    def only(self) -> str | None:
        """The client whose allocations alone they may see and change; None is everybody's."""
        return None if self.everything else self.name

    def takes(self, pool_domain: str) -> bool:
        """Return whether a pool domain (or BYO) is among theirs."""
        return self.pools is None or pool_domain in self.pools

    def require_pool(self, pool_domain: str) -> None:
        """Raise PoolNotAllowed for a pool domain (or BYO) that is not among theirs."""
        if not self.takes(pool_domain):
            what = "domains that customers bring" if pool_domain == BYO else f"the pool domain {pool_domain}"
            raise PoolNotAllowed(f"this client may not take names of {what}; an operator can allow it")
