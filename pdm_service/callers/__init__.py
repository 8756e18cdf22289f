"""Who calls, and what they may do.

`gate` lets requests in by their credential; `clients` who there is, `actor` who acts and how much they may have,
`token_review` whose a Kubernetes token is, `buckets` how often, and what counts as one sender, `rates` how often a
client may have others asked.
"""

from pdm_service.callers.actor import BYO, Actor, Quotas
from pdm_service.callers.clients import (
    ANONYMOUS,
    EVERYBODY,
    KEY_PREFIX,
    LOCAL,
    NOBODY,
    Client,
    Clients,
    Scope,
    expired,
    read,
)
from pdm_service.callers.rates import Limits, Rates

__all__ = [
    "ANONYMOUS",
    "BYO",
    "EVERYBODY",
    "KEY_PREFIX",
    "LOCAL",
    "NOBODY",
    "Actor",
    "Client",
    "Clients",
    "Limits",
    "Quotas",
    "Rates",
    "Scope",
    "expired",
    "read",
]
