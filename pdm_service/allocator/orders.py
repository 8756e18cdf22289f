"""What callers ask of the verbs, in values."""

import msgspec

from pdm_service import names
from pdm_service.findings import Finding
from pdm_service.model import tokens
from pdm_service.model.allocation import Allocation


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a reserve is asked with, in every mode."""

    created_by: str | None = None
    ttl_seconds: int | None = None
    key: str | None = None
    """The Idempotency-Key."""
    tenant: str | None = None
    acknowledged: tuple[str, ...] = ()
    """Only of a customer's domain."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Terms({self.tenant})"

    def check(self) -> None:
        """Raise InvalidText, InvalidFormat for what cannot be stored."""
        for field, text in (("createdBy", self.created_by), ("tenant", self.tenant)):
            if text is not None:
                names.text(field, text)
        tokens.checked_key(self.key)


class Registrar(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's registrar, and the token that is kept nowhere."""

    name: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Registrar({self.name})"


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller commits a name with; the last four only a customer's domain."""

    fqdn: str
    token: str
    addresses: list[str]
    sovereign_fqdn: str | None = None
    registrar: Registrar = Registrar()
    acknowledged: tuple[str, ...] = ()
    imports: tuple[tuple[str, str], ...] = ()
    """Absolute name in lower case, and type, of each RRset to copy."""
    zonefile: str | None = None
    """RRsets to serve beside the platform's (RFC 1035 section 5)."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Commit({self.fqdn})"


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a commit."""

    allocation: Allocation
    problems: tuple[Finding, ...] = ()
    """What the zone before has, and the new one has not, where the customer changes the nameservers."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller gives a name back with."""

    fqdn: str
    token: str | None = None
    """Only if its holder is still the same."""
    declared_for: str | None = None
    """Only what was declared for this owner of a resource."""
    force: bool = False
    """Also while a customer's domain still points here."""
    registrar: Registrar = Registrar()

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Release({self.fqdn})"
