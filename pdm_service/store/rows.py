"""Rows and their values: which columns make an allocation or a claim, and what replicas send each other by NOTIFY."""

import sys
from math import inf
from typing import Any, Generic, LiteralString, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from pdm_service.model.allocation import Allocation, Claim, Dns, DnsState, Mode, Needs, Proof, State
from pdm_service.model.observation import Looked
from pdm_service.model.records import RRset
from pdm_service.model.standing import Taken
from pdm_service.model.tokens import Credentials

T = TypeVar("T")

WORK_CHANNEL = "pdm_work"
OUTCOME_CHANNEL = "pdm_outcome"
NAMES_CHANNEL = "pdm_names"
"""Rung by hand, by who has changed allocations or the quarantine without an entry in the trail."""

# `a` is a row of allocations in all statements below.
COLUMNS: LiteralString = """
    a.id, a.fqdn, a.mode, a.pool_domain, a.subdomain, a.state, a.created_by, a.reserved_at, a.expires_at,
    a.committed_at, a.token_digest, a.token_nonce, a.idempotency_digest, a.request_digest, a.sovereign_fqdn,
    a.load_balancer_ips, a.ds, a.dns_state, a.dns_error, a.dns_updated_at, a.generation, a.attempts,
    a.owner, a.tenant, a.declared,
    coalesce(a.expires_at <= now(), false) AS expired,
    a.proof, a.imports, a.announce_ds, a.needs, a.not_before, a.acknowledged
"""
LIVE: LiteralString = "(a.expires_at IS NULL OR a.expires_at > now())"

# `a` is a row of claims: the columns of an allocation, as far as a claim has them.
CLAIM: LiteralString = """
    a.id, a.fqdn, a.mode, NULL AS pool_domain, NULL AS subdomain, 'reserved' AS state, a.created_by, a.reserved_at,
    a.expires_at, a.committed_at, a.token_digest, a.token_nonce, a.idempotency_digest, a.request_digest,
    a.sovereign_fqdn, a.load_balancer_ips, '{}'::text[] AS ds,
    CASE WHEN a.committed_at IS NULL THEN 'none' ELSE 'pending' END AS dns_state, a.problem AS dns_error,
    a.committed_at AS dns_updated_at, 0::bigint AS generation, 0 AS attempts,
    a.owner, a.tenant, false AS declared, a.expires_at <= now() AS expired,
    a.proof, a.imports, false AS announce_ds,
    CASE WHEN a.proof IS NULL THEN 'proof' WHEN a.mode = 'byo-api' THEN 'registrar-token' END AS needs,
    NULL::timestamptz AS not_before, a.acknowledged, a.challenge, a.registered_at,
    (SELECT jsonb_build_object('at', w.report->'checked_at', 'seen', w.report->'challenge') FROM watches w
      WHERE w.fqdn = a.fqdn AND jsonb_typeof(w.report->'challenge') = 'array'
        AND (w.report->>'checked_at')::timestamptz >= a.reserved_at) AS looked
"""


class Lease(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The right to work on a row until a deadline, after which another replica takes it over."""

    id: UUID
    name: str
    """Of the row: a name handed out, a domain that is watched, a pool domain."""
    row: T
    """As it was when it was leased."""
    waited_seconds: float = 0.0
    """How long the row had been due."""
    late: bool = False
    """Whether a call of PowerDNS about the name may still be carried out that was given up before."""
    serial: int | None = None
    """Of the name's zone, when a list of all zones showed that it had changed."""


def taken(condition: LiteralString) -> LiteralString:
    """Return the SELECT of the pool names that are held or in quarantine; in the condition `n` is a row of either."""
    return f"""
        SELECT n.skeleton, n.fqdn, n.subdomain, n.pool_domain, n.state, n.owner, n.tenant,
               extract(epoch FROM coalesce(n.expires_at, 'infinity'))::float8 AS until
          FROM allocations n WHERE n.pool_domain IS NOT NULL AND {condition}
        UNION ALL
        SELECT n.skeleton, n.fqdn, n.subdomain, n.pool_domain, NULL, n.owner, n.tenant,
               extract(epoch FROM n.until)::float8
          FROM quarantine n WHERE {condition}
    """


def taken_of(row: asyncpg.Record) -> Taken:
    """Return the name in a row of `taken`; what is the same in many of them is kept once."""
    look, subdomain, until = row["skeleton"], row["subdomain"], row["until"]
    return Taken(
        subdomain=look if look == subdomain else subdomain,
        pool_domain=sys.intern(row["pool_domain"]),
        state=State(row["state"]) if row["state"] else None,
        owner=sys.intern(row["owner"]),
        tenant=row["tenant"],
        until=inf if until == inf else until,
    )


def allocation_of(row: asyncpg.Record) -> Allocation:
    """Return the allocation in a row of COLUMNS."""
    return Allocation(**_values(row))


def claim_of(row: asyncpg.Record) -> Claim:
    """Return the claim in a row of CLAIM."""
    looked = msgspec.json.decode(row["looked"], type=Looked) if row["looked"] else None
    return Claim(**_values(row), challenge=row["challenge"], registered_at=row["registered_at"], looked=looked)


def holding_of(row: asyncpg.Record) -> Allocation:
    """Return the allocation or the claim in a row of either; only a claim has a challenge."""
    return allocation_of(row) if row["challenge"] is None else claim_of(row)


def rrsets_of(text: str | None) -> tuple[RRset, ...]:
    """Return stored RRsets; the release before stored some of their names without the trailing dot."""
    found = msgspec.json.decode(text, type=tuple[RRset, ...]) if text else ()
    return tuple(one if one.name.endswith(".") else replace(one, name=f"{one.name}.") for one in found)


_PLAIN = (
    "id", "fqdn", "pool_domain", "subdomain", "expired", "created_by", "reserved_at", "expires_at", "committed_at",
    "sovereign_fqdn", "generation", "owner", "tenant", "declared", "announce_ds", "not_before",
)  # fmt: skip


def _values(row: asyncpg.Record) -> dict[str, Any]:
    return {
        **{name: row[name] for name in _PLAIN},
        "mode": Mode(row["mode"]),
        "state": State(row["state"]),
        "credentials": Credentials(
            token_digest=row["token_digest"],
            token_nonce=row["token_nonce"],
            idempotency_digest=row["idempotency_digest"],
            request_digest=row["request_digest"],
        ),
        "load_balancer_ips": tuple(row["load_balancer_ips"]),
        "dns": Dns(
            state=DnsState(row["dns_state"]),
            error=row["dns_error"],
            updated_at=row["dns_updated_at"],
            ds=tuple(row["ds"]),
            attempts=row["attempts"],
        ),
        "proof": Proof(row["proof"]) if row["proof"] else None,
        "needs": Needs(row["needs"]) if row["needs"] else None,
        "imports": rrsets_of(row["imports"]),
        "acknowledged": None if row["acknowledged"] is None else tuple(row["acknowledged"]),
    }
