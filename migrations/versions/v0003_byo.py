"""Domains that customers bring: claims, watched delegations, undo sheets, changes at registrars.

Expand: new tables, and columns that the release before neither writes nor reads.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

_STATEMENTS = (
    # --- allocations of domains that are not below a pool domain
    "ALTER TABLE allocations DROP CONSTRAINT allocations_mode",
    """
    ALTER TABLE allocations
        ALTER pool_domain DROP NOT NULL,
        ALTER subdomain DROP NOT NULL,
        ADD COLUMN proof text,             -- byo: what showed that the domain is the holder's
        ADD COLUMN imports jsonb,          -- byo: RRsets copied from the zone before
        ADD COLUMN announce_ds boolean NOT NULL DEFAULT false,  -- byo: CDS and CDNSKEY in the zone (RFC 7344)
        ADD COLUMN needs text,             -- byo: what the next step wants of the caller
        ADD COLUMN not_before timestamptz, -- byo: the zone is kept until caches have forgotten it
        ADD CONSTRAINT allocations_mode CHECK (mode IN ('pool', 'byo-manual', 'byo-api')),
        ADD CONSTRAINT allocations_pool CHECK (
            (mode = 'pool') = (pool_domain IS NOT NULL) AND (mode = 'pool') = (subdomain IS NOT NULL)),
        ADD CONSTRAINT allocations_proof CHECK (
            (mode = 'pool') = (proof IS NULL) AND proof IN ('txt', 'registrar', 'transition')),
        ADD CONSTRAINT allocations_needs CHECK (needs IN ('registrar-token'))
    """,
    # --- claims: a domain that somebody says is his. Any number of them may wait for a proof.
    """
    CREATE TABLE claims (
        id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        fqdn               text COLLATE "C" NOT NULL,
        span               name_span   NOT NULL,
        mode               text        NOT NULL CHECK (mode IN ('byo-manual', 'byo-api')),
        created_by         text,
        reserved_at        timestamptz NOT NULL DEFAULT now(),
        expires_at         timestamptz NOT NULL,
        token_digest       bytea       NOT NULL,
        token_nonce        bytea,
        idempotency_digest bytea,
        request_digest     bytea,
        challenge          text        NOT NULL,  -- what the TXT record has to say
        proof              text        CHECK (proof IN ('registrar', 'txt', 'transition')),
        elsewhere_at       timestamptz, -- since it was opened: last seen with other nameservers than the platform's
        committed_at       timestamptz, -- what follows is what its holder wants served once it is proven
        sovereign_fqdn     text,
        load_balancer_ips  text[]      NOT NULL DEFAULT '{}',
        imports            jsonb
    )
    """,
    "CREATE INDEX claims_fqdn ON claims (fqdn)",
    "CREATE INDEX claims_span ON claims USING spgist (span)",
    "CREATE INDEX claims_expiry ON claims (expires_at)",
    "CREATE UNIQUE INDEX claims_idempotency ON claims (idempotency_digest) WHERE idempotency_digest IS NOT NULL",
    # --- a released domain that still pointed here: the next claim needs a proof that nobody can wait for
    """
    CREATE TABLE orphans (
        fqdn  text COLLATE "C" PRIMARY KEY,
        since timestamptz NOT NULL DEFAULT now()
    )
    """,
    # --- delegations that are looked at
    """
    CREATE TABLE watches (
        fqdn        text COLLATE "C" PRIMARY KEY,
        memory      jsonb,
        report      jsonb,
        looked_at   timestamptz, -- the last look that began
        due_at      timestamptz, -- null: only when somebody asks
        lease_id    uuid,
        lease_until timestamptz
    )
    """,
    "CREATE INDEX watches_due ON watches (due_at) WHERE due_at IS NOT NULL",
    # --- what was before a registrar was asked to change anything; no secret in it
    """
    CREATE TABLE undo_sheets (
        allocation_id uuid PRIMARY KEY,
        fqdn          text COLLATE "C" NOT NULL,
        registrar     text        NOT NULL,
        nameservers   text[]      NOT NULL,
        ds            text[]      NOT NULL,
        parent_ttl    integer     NOT NULL,
        acknowledged  text[]      NOT NULL,
        rrsets        jsonb       NOT NULL, -- what was found of the zone
        made_at       timestamptz NOT NULL DEFAULT now()
    )
    """,
    # --- each change at a registrar, noted before it is sent
    """
    CREATE TABLE registrar_changes (
        id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        allocation_id uuid        NOT NULL,
        fqdn          text COLLATE "C" NOT NULL,
        registrar     text        NOT NULL,
        kind          text        NOT NULL CHECK (kind IN ('nameservers', 'rollback', 'ds', 'ds-removal')),
        wanted        text[]      NOT NULL,
        requested_at  timestamptz NOT NULL DEFAULT now(),
        operation     text,        -- what the registrar carries out by itself
        problem       text,
        settled_at    timestamptz,
        outcome       text        NOT NULL DEFAULT 'requested' CHECK (outcome IN (
            'requested', -- sent, or about to be: only the registrar or the parent zone can tell
            'pending',   -- taken by the registrar, not on record yet
            'done',
            'failed'     -- surely not made
        )),
        CHECK ((settled_at IS NULL) = (outcome IN ('requested', 'pending')))
    )
    """,
    # One change of a domain at a time, in the whole deployment.
    "CREATE UNIQUE INDEX registrar_changes_open ON registrar_changes (allocation_id) WHERE settled_at IS NULL",
    "CREATE INDEX registrar_changes_allocation ON registrar_changes (allocation_id, id)",
)


def upgrade() -> None:
    """Create what customers' domains need."""
    for statement in _STATEMENTS:
        op.execute(statement)
