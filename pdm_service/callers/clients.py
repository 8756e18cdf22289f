"""Clients: who calls by which credential, with which scopes, pools and quotas; and the file that lists them."""

import hmac
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from msgspec import Struct

from pdm_service.callers.actor import UNLIMITED, Actor, Limit, Quotas

LOCAL = "local"
"""The client that everybody is where callers are not distinguished."""
ANONYMOUS = "anonymous"
"""The client of those who call the compatibility routes without a credential, where that is allowed."""
KEY_PREFIX = "pdm_"
DEFAULT_CHECKS_PER_MINUTE = 600

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Scope(StrEnum):
    """What a client may do."""

    CHECK = "check"
    """See what the platform offers, and whether a name is free."""
    ALLOCATE = "allocate"
    """Hold names, publish them, give them back; its own alone. Includes check."""
    REGISTRAR = "registrar"
    """Ask and change things at registrars with tokens of their customers."""
    METRICS = "metrics"
    """Read the metrics."""
    ADMIN = "admin"
    """Everything, also with what other clients hold."""


class Client(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One line of the file of callers: a key, a Kubernetes ServiceAccount or a certificate, and what comes with it."""

    id: str
    sha256: str | None = None
    """Of the key, in hexadecimal digits."""
    service_account: str | None = None
    """`namespace:name`."""
    certificate: str | None = None
    """A name in the client's certificate: as it stands there, of a DNS name or URI."""
    scopes: frozenset[Scope] = frozenset()
    pools: frozenset[str] | None = None
    quotas: Quotas = UNLIMITED
    tenant_quotas: Quotas = UNLIMITED
    checks_per_minute: Limit = DEFAULT_CHECKS_PER_MINUTE
    expires: datetime | None = None

    def may(self, needed: frozenset[Scope]) -> bool:
        """Return whether the client has one of the scopes."""
        return Scope.ADMIN in self.scopes or bool(self.scopes & needed)

    def actor(self, request_id: str | None) -> Actor:
        """Return who acts in a request of this client."""
        return Actor(
            self.id, request_id, Scope.ADMIN in self.scopes, self.pools, self.quotas, self.tenant_quotas
        )  # fmt: skip


EVERYBODY = Client(id=LOCAL, scopes=frozenset(Scope), checks_per_minute=0)
"""Where callers are not distinguished; its checks are not counted."""
NOBODY = Client(id=ANONYMOUS, scopes=frozenset({Scope.CHECK, Scope.ALLOCATE}), checks_per_minute=60)
"""Without a credential, on the compatibility routes for pools."""


class Clients:
    """The clients of a file, by what they prove themselves with."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._keys = [(bytes.fromhex(client.sha256), client) for client in clients if client.sha256]
        self._accounts = {client.service_account: client for client in clients if client.service_account}
        self._certificates = {client.certificate: client for client in clients if client.certificate}

    def of_key(self, digest: bytes, identity: str | None = None) -> Client | None:
        """Return the client of a key's digest (and of an id, if one was given), comparing all in constant time."""
        found = None
        for known, client in self._keys:
            if hmac.compare_digest(known, digest) and identity in {None, client.id}:
                found = client
        return found

    def of_account(self, username: str) -> Client | None:
        """Return the client of `system:serviceaccount:namespace:name`."""
        prefix, _, account = username.partition("serviceaccount:")
        return self._accounts.get(account) if prefix == "system:" else None

    def of_certificate(self, names: Iterable[str]) -> list[Client]:
        """Return the clients that have one of a certificate's names."""
        return [client for name in names if (client := self._certificates.get(name))]

    @property
    def use_certificates(self) -> bool:
        """Whether any client has a certificate."""
        return bool(self._certificates)

    @property
    def use_accounts(self) -> bool:
        """Whether any client is a ServiceAccount."""
        return bool(self._accounts)


def read(text: str) -> Clients:
    """Return the clients of a file, one JSON object a line; raises ValueError with the number of a wrong line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found.append(_client(line))
        except (ValueError, msgspec.DecodeError) as error:
            raise ValueError(f"line {number}: {error}") from None
    if not found:
        raise ValueError("has no client; make one with `pdm keys new`")
    named = [client.certificate for client in found if client.certificate]
    if repeated := {name for name in named if named.count(name) > 1}:
        raise ValueError(f"certificate {min(repeated)} stands in two lines")
    return Clients(found)


def _client(line: str) -> Client:
    found = msgspec.json.decode(line, type=Client)
    if not _ID.fullmatch(found.id) or found.id == ANONYMOUS:
        raise ValueError("an id has 1 to 63 letters, digits, '.', '_' and '-'")
    if [found.sha256, found.service_account, found.certificate].count(None) != 2:
        raise ValueError("takes one of sha256, serviceAccount and certificate")
    if found.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", found.sha256):
        raise ValueError("sha256 has 64 hexadecimal digits")
    if found.service_account is not None and not re.fullmatch(r"[a-z0-9-]+:[a-z0-9.-]+", found.service_account):
        raise ValueError("serviceAccount is of the form namespace:name")
    if found.certificate is not None and not re.fullmatch(r"[!-~]{1,2048}", found.certificate):
        raise ValueError("certificate is a DNS name or URI as it stands in the certificate")
    if not found.scopes:
        raise ValueError("has no scopes")
    if found.expires is not None and found.expires.tzinfo is None:
        raise ValueError("expires needs a time zone")
    return found


def expired(client: Client) -> bool:
    """Return whether a client's key has expired."""
    return client.expires is not None and client.expires <= datetime.now(UTC)
