"""Bodies of requests on /v1."""

from msgspec import field

from pdm_service.wire.base import Mode, V1Request


class ReserveRequest(V1Request, kw_only=True):
    """Hold a name for a time: a label below a pool domain, or a customer's own domain."""

    mode: Mode = "pool"
    pool_domain: str | None = None
    subdomain: str | None = None
    domain: str | None = None
    created_by: str | None = None
    ttl_seconds: int | None = None
    tenant: str | None = None
    """For whom, in the client's own words: who gets the name back while it is kept, and whose quota counts."""
    acknowledge: list[str] = field(default_factory=list)
    """Of a customer's domain: codes of findings that do not keep it from being claimed (BYO-BELOW)."""


class NameRequest(V1Request, kw_only=True):
    """Name an allocation: by its fqdn, or by pool domain and subdomain."""

    fqdn: str | None = None
    pool_domain: str | None = None
    subdomain: str | None = None


class RenewRequest(NameRequest, kw_only=True):
    """Extend a reservation."""

    reservation_token: str
    ttl_seconds: int | None = None


class ImportedRRset(V1Request, kw_only=True):
    """An RRset to copy from the zone as its current nameservers serve it."""

    name: str
    type: str


class CommitRequest(NameRequest, kw_only=True):
    """Publish a reserved name at one or more addresses; the last five are for customers' own domains."""

    reservation_token: str
    load_balancer_ip: str | None = field(name="loadBalancerIP", default=None)
    load_balancer_ips: list[str] | None = field(name="loadBalancerIPs", default=None)
    sovereign_fqdn: str | None = field(name="sovereignFQDN", default=None)
    registrar: str | None = None
    registrar_token: str | None = None
    acknowledge: list[str] = field(default_factory=list)
    imports: list[ImportedRRset] = field(name="import", default_factory=list)
    import_zonefile: str | None = None
    """RRsets to serve beside the platform's, as a zone file (RFC 1035): 1,000 records at most."""


class ReleaseRequest(NameRequest, kw_only=True):
    """Give a name back; with the token, only if its holder is still the same."""

    reservation_token: str | None = None
    force: bool = False
    """Also while a customer's own domain still points here."""
    registrar: str | None = None
    registrar_token: str | None = None


class RollbackRequest(V1Request, kw_only=True):
    """Give a domain the nameservers back that it had before."""

    fqdn: str
    reservation_token: str | None = None
    registrar: str | None = None
    registrar_token: str | None = None


class DeclareRequest(V1Request, kw_only=True):
    """What a name should be; without an address it is reserved. Nothing of it is normalised."""

    pool_domain: str
    subdomain: str
    created_by: str | None = None
    sovereign_fqdn: str | None = field(name="sovereignFQDN", default=None)
    load_balancer_ip: str | None = field(name="loadBalancerIP", default=None)
    load_balancer_ips: list[str] | None = field(name="loadBalancerIPs", default=None)


class ValidateRequest(V1Request, kw_only=True):
    """Test a registrar token; it lives no longer than the request."""

    registrar: str | None = None
    domain: str | None = None
    token: str | None = None
    zone_transfer: bool = False
    """Consent to a transfer of the zone being tried (AXFR)."""


class PreflightRequest(V1Request, kw_only=True):
    """Check a domain before its customer changes the nameservers."""

    domain: str
    zone_transfer: bool = False
    """Consent to a transfer of the zone being tried (AXFR)."""
