"""Who calls, and what they may do: clients and their scopes (`clients`), and the gate that lets them in (`gate`)."""

from pdm_service.callers.clients import (
    ANONYMOUS,
    BYO,
    EVERYBODY,
    KEY_PREFIX,
    LOCAL,
    NOBODY,
    Actor,
    Client,
    Clients,
    Quotas,
    Scope,
    expired,
    read,
)

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
    "Quotas",
    "Scope",
    "expired",
    "read",
]
