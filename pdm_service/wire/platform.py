"""What replies show of the platform itself: pools, nameservers, reserved labels, registrars, health, and errors."""

from datetime import datetime
from typing import Literal

from pdm_service.findings import Finding
from pdm_service.wire.allocations import Dnssec
from pdm_service.wire.base import Reply


class PoolRegistration(Reply, kw_only=True):
    """What a pool domain's registrar has on record, and whether that is as it should be."""

    registrar: str
    state: Literal["unknown", "in-order", "changing", "failed"]
    nameservers: list[str] | None = None
    ds: list[str] | None = None
    """Absent where the registrar does not say."""
    problem: str | None = None
    checked_at: datetime | None = None
    repaired_at: datetime | None = None


class PoolReply(Reply, kw_only=True):
    """A pool domain and the condition of its zone."""

    pool_domain: str
    state: Literal["ready", "pending"]
    nameservers: list[str]
    dnssec: Dnssec | None = None
    problems: list[str] | None = None
    last_error: str | None = None
    checked_at: datetime | None = None
    registration: PoolRegistration | None = None
    """Only with a pool registrar."""


class PoolsReply(Reply, kw_only=True):
    """All pool domains, sorted."""

    pools: list[PoolReply]


class NameserversReply(Reply, kw_only=True):
    """The platform's nameservers, to delegate to."""

    nameservers: list[str]


class ReservedReply(Reply, kw_only=True):
    """The reserved labels, sorted, and by reason; `word*` and `word#` are patterns."""

    reserved: list[str]
    by_reason: dict[str, list[str]]


class SetNsReply(Reply, kw_only=True):
    """Nameservers that are on record, or a change that the registrar has taken and carries out by itself."""

    success: Literal[True]
    registrar: str
    domain: str
    unicode: str | None = None
    nameservers: list[str]
    """As the registrar last gave them; while `pending`, still the old ones."""
    propagation: str
    pending: bool


class Abilities(Reply, kw_only=True):
    """What can be done with a domain at a registrar."""

    set_nameservers: bool
    tells_permission: bool
    read_ds: bool
    set_ds: bool
    asynchronous: bool


class RegistrarReply(Reply, kw_only=True):
    """A registrar, for those who choose one."""

    name: str
    title: str
    token_form: str
    token_url: str
    abilities: Abilities
    propagation: str
    notes: list[str]


class RegistrarsReply(Reply, kw_only=True):
    """All registrars with an adapter, by name."""

    registrars: list[RegistrarReply]


class Health(Reply, kw_only=True):
    """Is the service able to work, in the words that the existing provisioner reads."""

    status: Literal["ok", "unhealthy"]
    managed_domains: list[str]
    registrars: list[str]


class Readiness(Reply, kw_only=True):
    """What the service depends on, and how that is."""

    ready: bool
    database: Literal["ok", "no-writes", "unreachable"]
    powerdns: Literal["ok", "unreachable", "failing"]
    """`failing`: it answers, but changes get nowhere from here; other replicas go on."""
    problem: str | None = None
    """Why the database is of no use, or takes no writes; where it does, why PowerDNS is not reached."""


class Problem(Reply, kw_only=True):
    """An error, as RFC 9457 has it, with this API's stable code in `error`."""

    error: str
    detail: str
    type: str
    title: str
    status: int
    supported: list[str] | None = None
    """The registrars that there are, where another one was asked for."""
    problems: list[Finding] | None = None
    """What stands in the way, where the pre-flight found something."""
    suggestion: str | None = None
    """What was probably meant, where a text is no name."""
