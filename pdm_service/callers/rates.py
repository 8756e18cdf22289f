"""How often a client may have the service ask others: nameservers, registries, registrars."""

from typing import Literal

from msgspec import Struct

from pdm_service.callers.buckets import Buckets
from pdm_service.callers.clients import EVERYBODY, Client
from pdm_service.errors import QuotaExceeded

What = Literal["claims", "renewals", "preflights", "observations"]


class Limits(Struct, frozen=True, kw_only=True):
    """How many a client may ask for in a minute, of each kind; 0 is no limit."""

    claims: int
    """Reserves of customers' domains."""
    renewals: int
    preflights: int
    observations: int
    """Fresh ones of a delegation."""


class Rates:
    """Counts what clients ask for, in this replica alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets = Buckets()

    def take(self, client: Client, what: What) -> None:
        """Count one, where callers are told apart; raises QuotaExceeded if there is none left."""
        limit = getattr(self._limits, what)
        if client is EVERYBODY or not limit or self._buckets.take(f"{what} {client.id}", limit, limit):
            return
        raise QuotaExceeded(f"this client may ask for {limit} {what} a minute", max(1, 60 // limit))
