-- The schema at head, written to be read. `pdm migrate` never runs this file: the steps in versions/ make the
-- schema, and a test proves that they and this file make the same one. A step that changes the schema changes this
-- file as well.
--
-- How the tables belong together (`id`, `allocation_id` and `fqdn` are the threads; there are no foreign keys, since
-- the trail and the notes about registrars outlive the allocation that they tell of):
--
--   POST reserve, PUT: a pool name ─▶ allocations ─▶ (active, published) ─▶ (releasing) ─▶ quarantine
--   POST reserve: a domain         ─▶ claims ─▶ (proven, committed) ─▶ allocations, with the claim's id
--     of the customer's own          └─▶ watches                        └─▶ undo_sheets, registrar_changes
--   each of these steps            ─▶ events
--
-- Rules for all tables:
--   * A transition is one conditional statement: it changes the row and appends the event, or does nothing.
--   * Times are the database's now(). Nothing else judges whether something has expired.
--   * Names are lower case, without a trailing dot, and compared byte by byte (COLLATE "C").
--   * Secrets are never stored: reservation tokens and Idempotency-Keys stand as SHA-256 digests, registrar tokens
--     do not stand at all.
--   * due_at, lease_id and lease_until (three tables) share out work between replicas. A row is due from due_at on. The
--     replica that takes it notes a new random lease_id, and nobody else may take it until lease_until. An outcome is
--     recorded only where the lease_id is still one's own; the work of a replica that died is taken over.
--
-- Written by: the module that has the statement, all in pdm_service/store.

--- Names in the DNS tree ---------------------------------------------------------------------------------------------

-- All names at and below a name, as a range: labels reversed, each as its hash, compared byte by byte. Two ranges
-- overlap exactly when one name lies above the other, or both are equal. Computed by names.span.
CREATE TYPE name_span AS RANGE (subtype = text, collation = "C");

-- One sequence for the generations of all allocations, so that no generation is used twice, also not by the next
-- holder of the same name.
CREATE SEQUENCE allocation_generation;

--- Allocations -------------------------------------------------------------------------------------------------------

-- A row is a name that somebody holds; a free name has no row. What stands here is what DNS should be; the publisher
-- makes DNS equal to it. A name that nobody holds but whose zone or delegation was found in DNS gets a row as well
-- ("condemned": releasing, no holder), so that nobody can have the name before DNS has forgotten it.
--
-- Inserted by: allocations (POST reserve), declarations (PUT), claims (a proven claim), worklist (a condemned name),
--              lost (an operator takes back a name that the database forgot).
-- Changed by:  allocations (renew, commit, release), declarations (PUT), worklist (the publisher's leases and
--              outcomes; a lease on a reservation while a leftover below it goes), registrar_changes (needs, announce_ds), watches (needs, announce_ds).
-- Deleted by:  worklist, when DNS has forgotten a releasing name; lost (an operator ends a reservation); allocations, when a reservation is released, an hour
--              after it expired, or when, expired, it stands in the way of a name above or below it; claims, when
--              somebody proves strongly that a domain held by a weak proof is theirs.
--              Whoever reserves a name whose reservation has expired takes the row over, with a new id.
CREATE TABLE allocations (
    -- What is held
    fqdn               text COLLATE "C" NOT NULL,     -- the name
    span               name_span   NOT NULL,          -- the name and all below it; computed from fqdn
    id                 uuid        NOT NULL DEFAULT gen_random_uuid(), -- this holding; the next has another
    mode               text        NOT NULL,          -- how the name came to us; see allocations_mode
    pool_domain        text,                          -- mode pool: the domain that the name lies under
    subdomain          text,                          -- mode pool: the label in front of it
    skeleton           text COLLATE "C" GENERATED ALWAYS AS (
        -- What the label looks like at a glance, as names.policy.skeleton has it; null where there is no label.
        replace(replace(replace(translate(replace(subdomain, '-', ''), '01i', 'oll'), 'rn', 'm'), 'vv', 'w'), 'cl', 'd')
    ) STORED,                                         -- names with one skeleton are easily taken for each other

    -- Who holds it
    owner              text        NOT NULL DEFAULT 'local', -- the client; `local` where callers are all one
    tenant             text,                          -- whom the client acts for, in its words; null: not given
    declared           boolean     NOT NULL DEFAULT false, -- held by PUT: no token, no expiry, ends by DELETE
    created_by         text,                          -- the caller's note on who asked for it; only shown
    token_digest       bytea       NOT NULL,          -- SHA-256 of the token; empty: no token fits (PUT, condemned)
    token_nonce        bytea,                         -- with the Idempotency-Key gives the token; null: no key
    idempotency_digest bytea,                         -- SHA-256 of the Idempotency-Key
    request_digest     bytea,                         -- SHA-256 of the request; another with that key is refused

    -- Where it is in its life
    state              text        NOT NULL,          -- see allocations_state
    reserved_at        timestamptz NOT NULL,          -- when it was reserved
    expires_at         timestamptz,                   -- end of a reservation; null: does not end by itself
    committed_at       timestamptz,                   -- when it became active; null: never was

    -- What its holder wants served
    sovereign_fqdn     text,                          -- the caller's note on the platform's name; not served
    load_balancer_ips  text[]      NOT NULL DEFAULT '{}', -- addresses of the canonical records, IPv4 and IPv6

    -- Only of a customer's domain
    proof              text,                          -- what showed whose domain it is; see allocations_proof
    imports            jsonb,                         -- copied from the zone before: [{name, type, ttl, contents}]
    announce_ds        boolean     NOT NULL DEFAULT false, -- the zone has CDS and CDNSKEY (RFC 7344)
    needs              text,                          -- what the next step wants of the caller; see allocations_needs
    acknowledged       text[],                        -- findings that its commit knew of; null: not known
    not_before         timestamptz,                   -- releasing: when caches have forgotten it; served until then

    -- How far DNS has come; an outcome is recorded only if the generation is still the one that was worked on
    dns_state          text        NOT NULL DEFAULT 'none', -- see allocations_dns
    ds                 text[]      NOT NULL DEFAULT '{}', -- as published last: "tag algorithm digest-type digest"
    dns_error          text,                          -- for callers: why the last attempt failed, what differed
    dns_updated_at     timestamptz,                   -- when dns_state changed last, or was confirmed by a publication
    generation         bigint      NOT NULL DEFAULT nextval('allocation_generation'), -- new when other DNS is wanted
    attempts           integer     NOT NULL DEFAULT 0, -- failed ones in a row; the pause grows with them
    due_at             timestamptz,                   -- when the publisher is to try, try again or audit; null: never
    lease_id           uuid,                          -- the publisher at work; null: none
    lease_until        timestamptz,                   -- until when
    serial             bigint,                        -- of the zone, up to which it was looked at; null: not yet
    listed_serial      bigint,                        -- of the zone, when a list of all zones made the name due

    -- One holder a name. Of any number of callers at the same time one inserts the row, the others find it.
    CONSTRAINT allocations_pkey PRIMARY KEY (fqdn),

    -- Where it is in its life, and who acts next. There is no other state: a free name has no row.
    CONSTRAINT allocations_state CHECK (state IN (
        'reserved',   -- held until expires_at, not in DNS. Next: the holder (commit, renew, release) or the clock
        'active',     -- the holder's until they release it. Next: the publisher until it is published, then nobody
        'releasing'   -- on its way out of DNS, nobody else's yet. Next: the publisher, which ends with the row
    )),

    -- How the name came to us, which decides who delegates it.
    CONSTRAINT allocations_mode CHECK (mode IN (
        'pool',       -- a label under a pool domain. Delegated by: the publisher, in the pool domain's zone
        'byo-manual', -- the customer's own domain. Delegated by: the customer, at their registrar
        'byo-api'     -- the customer's own domain. Delegated by: the service, with the registrar token of a commit
    )),

    -- A pool name has its pool domain and label, a customer's domain has neither.
    CONSTRAINT allocations_pool CHECK (
        (mode = 'pool') = (pool_domain IS NOT NULL) AND (mode = 'pool') = (subdomain IS NOT NULL)),

    -- A customer's domain is never served without a proof; a pool name has none.
    CONSTRAINT allocations_proof CHECK ((mode = 'pool') = (proof IS NULL) AND proof IN (
        'txt',        -- the zone's nameservers of the time showed the challenge. Strong: gives way to nobody
        'registrar',  -- a registrar token showed the domain in the account. Strong: gives way to nobody
        'transition'  -- the delegation came here after the claim was opened. Weak: gives way to a strong proof
    )),

    -- What the service cannot go on without.
    CONSTRAINT allocations_needs CHECK (needs IN (
        'registrar-token' -- to change nameservers or DS. Next: the caller, who commits again with the token
    )),

    -- DNS follows the state, and nothing is due that nobody would work on:
    --   none       not in DNS, nothing to do for the publisher
    --   pending    wanted in DNS, not seen there yet. Next: the publisher
    --   published  the nameservers answered as wanted. Next: nobody, until an audit is due
    --   removing   not wanted in DNS any more, perhaps still there. Next: the publisher
    -- A reservation expires or is declared, never both and never neither. What is active has an address to serve.
    CONSTRAINT allocations_dns CHECK (CASE state
        WHEN 'reserved'  THEN dns_state = 'none' AND due_at IS NULL AND (expires_at IS NOT NULL) <> declared
        WHEN 'active'    THEN dns_state IN ('pending', 'published') AND due_at IS NOT NULL
                              AND expires_at IS NULL AND cardinality(load_balancer_ips) > 0
        WHEN 'releasing' THEN dns_state = 'removing' AND due_at IS NOT NULL AND expires_at IS NULL
    END),

    -- Only pool names are declared, each for a tenant: the `owner` of its resource.
    CONSTRAINT allocations_declared CHECK (NOT declared OR (mode = 'pool' AND tenant IS NOT NULL)),

    -- Nobody's zone lies above or below somebody else's; also finds what does. Deferred to the end of the transaction,
    -- since a check in the middle of INSERT … ON CONFLICT would let two callers for one name wait for each other.
    CONSTRAINT allocations_overlap EXCLUDE USING spgist (span WITH &&) DEFERRABLE INITIALLY DEFERRED
);

-- Forbids two reservations for one Idempotency-Key of a client. Serves: which reservation did this key make?
CREATE UNIQUE INDEX allocations_idempotency ON allocations (owner, idempotency_digest)
 WHERE idempotency_digest IS NOT NULL;

-- Serves: what is due, the longest waiting first? Reservations are never due.
CREATE INDEX allocations_due ON allocations (due_at) WHERE due_at IS NOT NULL;

-- Serves: what is due and not as wanted (it goes before audits), and how long has the oldest waited?
CREATE INDEX allocations_unsettled ON allocations (due_at) WHERE dns_state IN ('pending', 'removing');

-- Serves: which reservations expired long enough ago to be deleted?
CREATE INDEX allocations_expiry ON allocations (expires_at) WHERE expires_at IS NOT NULL;

-- Serves: how many names does this client, or its tenant, hold (quotas)? `local` has no quota.
CREATE INDEX allocations_owner ON allocations (owner, tenant) WHERE owner <> 'local';

-- Serves: which held names look like this one, itself included (check, and reserving where look-alikes are refused)?
CREATE INDEX allocations_skeleton ON allocations (skeleton, pool_domain) WHERE pool_domain IS NOT NULL;

--- Released names ----------------------------------------------------------------------------------------------------

-- A row is a pool name that was active, was released, and is kept for its last holder: certificates that they got
-- outlive the release. Until the row ends nobody else can reserve the name.
--
-- Inserted by: worklist, when DNS has forgotten the name (not where PDM_QUARANTINE is 0).
-- Changed by:  worklist, when the same name is released again.
-- Deleted by:  availability (housekeeping), when `until` has passed; an operator, by hand, to end it sooner.
CREATE TABLE quarantine (
    fqdn        text COLLATE "C" NOT NULL,            -- the name
    pool_domain text        NOT NULL,                 -- the domain that it lies under
    subdomain   text        NOT NULL,                 -- the label in front of it
    skeleton    text COLLATE "C" GENERATED ALWAYS AS (
        -- As in allocations: what the label looks like at a glance.
        replace(replace(replace(translate(replace(subdomain, '-', ''), '01i', 'oll'), 'rn', 'm'), 'vv', 'w'), 'cl', 'd')
    ) STORED,                                         -- names with one skeleton are easily taken for each other
    owner       text        NOT NULL,                 -- the client that held it last
    tenant      text,                                 -- and for whom; only both together get the name
    since       timestamptz NOT NULL DEFAULT now(),   -- when DNS had forgotten it
    until       timestamptz NOT NULL,                 -- when everybody may have it

    -- One last holder a name. Serves: is this name kept, and for whom?
    CONSTRAINT quarantine_pkey PRIMARY KEY (fqdn)
);

-- Serves: which rows have ended?
CREATE INDEX quarantine_until ON quarantine (until);

-- Serves: which names in quarantine look like this one?
CREATE INDEX quarantine_skeleton ON quarantine (skeleton, pool_domain);

--- Pool zones --------------------------------------------------------------------------------------------------------

-- A row is a pool zone: as long as its serial is the one that it was read whole at, and one more for each change of our
-- own since then, nobody else has changed it.
--
-- Inserted by: worklist, before the first change of a pool zone, and when it was read whole.
-- Changed by:  worklist, before each change, and when the zone was read whole.
-- Deleted by:  nobody.
CREATE TABLE parent_zones (
    pool_domain text        NOT NULL,                 -- the zone
    writes      bigint      NOT NULL DEFAULT 0,       -- changes of our own since it was read whole
    serial      bigint,                               -- its serial then; null: it was not read yet
    read_at     timestamptz,                          -- when that was

    -- Serves: has anybody else changed this zone?
    CONSTRAINT parent_zones_pkey PRIMARY KEY (pool_domain)
);

--- Calls that may come late -----------------------------------------------------------------------------------------

-- A row is a name of which a call of PowerDNS was given up, or its caller died: whether it is carried out is not known,
-- nor when. For 15 s the name is not given to anybody (its allocation stays `releasing`), and for 5 minutes what DNS has
-- of it is looked at again and again.
--
-- Inserted by: worklist (the publisher gave up a call; a lease was taken over).
-- Changed by:  worklist, when it happens again, and with each look at a name that nobody has in DNS.
-- Deleted by:  worklist, when the 5 minutes are over and the name has come to rest.
CREATE TABLE late_calls (
    fqdn        text COLLATE "C" NOT NULL,            -- the name
    pool_domain text,                                 -- the domain that it lies under; null: a customer's domain
    since       timestamptz NOT NULL DEFAULT now(),   -- when the last such call was given up
    due_at      timestamptz NOT NULL DEFAULT now(),   -- when it is looked at next, while it is in nobody's zone

    -- Serves: may a call on this name come late?
    CONSTRAINT late_calls_pkey PRIMARY KEY (fqdn)
);

--- Customers' domains ------------------------------------------------------------------------------------------------

-- A row is somebody's word that a domain is theirs. Nothing is served for it, it keeps nobody out, and any number of
-- callers may claim one domain. The first one that is proven and committed becomes an allocation.
--
-- Inserted by: claims (POST reserve of a customer's domain).
-- Changed by:  claims: renew, commit (what the holder wants), a proof that is seen or lapses, a delegation that was seen
--              elsewhere.
-- Deleted by:  claims: when it becomes an allocation, when it is released, when another claim at or above the domain is
--              proven strongly and becomes one, and an hour after it expired.
CREATE TABLE claims (
    id                 uuid        NOT NULL DEFAULT gen_random_uuid(), -- kept by the allocation that it becomes
    fqdn               text COLLATE "C" NOT NULL,     -- the domain
    span               name_span   NOT NULL,          -- the domain and all below it; computed from fqdn
    mode               text        NOT NULL,          -- who changes the nameservers; see claims_mode_check
    owner              text        NOT NULL DEFAULT 'local', -- as in allocations, down to request_digest
    tenant             text,                          -- whom the client acts for
    created_by         text,                          -- the caller's note on who asked for it
    token_digest       bytea       NOT NULL,          -- SHA-256 of the reservation token
    token_nonce        bytea,                         -- with the Idempotency-Key it gives the token again
    idempotency_digest bytea,                         -- SHA-256 of the Idempotency-Key
    request_digest     bytea,                         -- SHA-256 of the request
    reserved_at        timestamptz NOT NULL DEFAULT now(), -- when it was opened
    expires_at         timestamptz NOT NULL,          -- when it ends; a commit gives it 7 days, for the proof

    challenge          text        NOT NULL,          -- what the TXT record that proves it must say
    proof              text,                          -- what showed that the domain is the holder's; null: nothing yet
    proof_seen_at      timestamptz,                   -- when that was seen last; null: never, or by an earlier release
    registered_at      timestamptz,                   -- when its registry says it was registered; null: not asked, since
                                                      -- nobody held it when the claim was opened
    elsewhere_at       timestamptz,                   -- last observed with others' nameservers; null: never

    committed_at       timestamptz,                   -- when its holder said what they want served; null: not yet
    sovereign_fqdn     text,                          -- wanted, as in allocations
    load_balancer_ips  text[]      NOT NULL DEFAULT '{}', -- wanted, as in allocations
    imports            jsonb,                         -- wanted, as in allocations
    acknowledged       text[]      NOT NULL DEFAULT '{}', -- codes of the findings that the commit said it knows
    problem            text,                          -- for callers: why a proven domain cannot be had yet; null: nothing

    -- The challenge and the token are one claim's; two claims of one domain are two rows.
    CONSTRAINT claims_pkey PRIMARY KEY (id),

    -- Only customers' domains are claimed; a pool name is nobody's before it is reserved.
    CONSTRAINT claims_mode_check CHECK (mode IN (
        'byo-manual', -- the customer, at their registrar. Next: they set the TXT record, or the nameservers
        'byo-api'     -- the service. Next: the caller commits with a registrar token, which also is the proof
    )),

    -- What showed that the domain is the holder's. The same words as in allocations.
    CONSTRAINT claims_proof_check CHECK (proof IN (
        'registrar',  -- as in allocations_proof. Next: the commit that carried the token makes it an allocation
        'txt',        -- as there. Next: the watch makes it an allocation if it is committed, else the holder commits
        'transition'  -- as there, and only of a committed claim. Next: the watch makes it an allocation
    ))
);

-- Serves: which claims does this domain have, and which of them is this token's?
CREATE INDEX claims_fqdn ON claims (fqdn);

-- Serves: which claims lie at or below a domain (rivals end with a strong proof), or above it (and forbid a transition)?
CREATE INDEX claims_span ON claims USING spgist (span);


-- Serves: which claims expired long enough ago to be deleted?
CREATE INDEX claims_expiry ON claims (expires_at);

-- Forbids two claims for one Idempotency-Key of a client. Serves: which claim did this key open?
CREATE UNIQUE INDEX claims_idempotency ON claims (owner, idempotency_digest) WHERE idempotency_digest IS NOT NULL;

-- Serves: how many claims does this client, or its tenant, have open (quotas)? `local` has no quota.
CREATE INDEX claims_owner ON claims (owner, tenant) WHERE owner <> 'local';

-- A row is a customer's domain that was released by force while it still pointed here. Whoever claims it next must
-- prove it strongly: "the delegation came here" would prove nothing, since it never left.
--
-- Inserted by: allocations (release by force); claims (whoever proves the name above sends its holder away).
-- Changed by:  allocations, claims, when the same happens again: `since` begins anew.
-- Deleted by:  claims: when a strong proof makes somebody its holder, or when the domain, after 30 days, is seen with
--              other nameservers.
CREATE TABLE orphans (
    fqdn  text COLLATE "C" NOT NULL,                  -- the domain
    since timestamptz NOT NULL DEFAULT now(),         -- when it was released

    -- One row a domain. Serves: may this claim be proven by transition?
    CONSTRAINT orphans_pkey PRIMARY KEY (fqdn)
);

-- A row is a domain whose delegation is observed, or was asked about recently: any domain, also one that nobody has.
--
-- Inserted by: claims (a claim is opened, or becomes an allocation); watches (a caller asks about a domain).
-- Changed by:  claims (due at once); watches: the leases and outcomes of delegations.watch, in all replicas.
-- Deleted by:  watches, a day after the last observation of a domain that nobody claims or holds.
CREATE TABLE watches (
    fqdn        text COLLATE "C" NOT NULL,            -- the domain
    memory      jsonb,                                -- model.observation.Memory: for the next verdict
    report      jsonb,                                -- model.observation.Report: the last verdict; null: none
    looked_at   timestamptz,                          -- when the last observation began, finished or not
    due_at      timestamptz,                          -- when the watch observes it next; null: only when a caller asks
    lease_id    uuid,                                 -- the replica that observes it; null: none
    lease_until timestamptz,                          -- until when
    whose       text,                                 -- client/tenant whose turn it takes: who claimed it first, or holds it

    -- One row a domain, whoever asks.
    CONSTRAINT watches_pkey PRIMARY KEY (fqdn)
);

-- Serves: which domains are due, the longest waiting first?
CREATE INDEX watches_due ON watches (due_at) WHERE due_at IS NOT NULL;

-- A row is how a domain was before a registrar was asked to change its nameservers: what a rollback restores.
--
-- Inserted by: registrar_changes, before the first change of the allocation's nameservers is noted.
-- Changed by:  registrar_changes, only as long as no such change was sent that may have been made.
-- Deleted by:  nobody. It holds no secret, and shows what was there after the domain is gone from here.
CREATE TABLE undo_sheets (
    allocation_id uuid        NOT NULL,               -- allocations.id; that row may be gone
    fqdn          text COLLATE "C" NOT NULL,          -- the domain
    registrar     text        NOT NULL,               -- its name in our words: cloudflare, dynadot, …
    nameservers   text[]      NOT NULL,               -- on record at the registrar
    ds            text[]      NOT NULL,               -- in the parent zone: "tag algorithm digest-type digest"
    parent_ttl    integer     NOT NULL,               -- TTL of the NS in the parent zone, in seconds
    acknowledged  text[]      NOT NULL,               -- codes of the findings that the caller said they know
    rrsets        jsonb       NOT NULL,               -- the zone before: [{name, type, ttl in seconds, contents}]
    made_at       timestamptz NOT NULL DEFAULT now(), -- when it was made

    -- One undo sheet an allocation: the oldest that counts.
    CONSTRAINT undo_sheets_pkey PRIMARY KEY (allocation_id)
);

-- A row is one change that a registrar was asked for. It is committed before the request is sent, so that a service
-- that dies in between reads back what came of it, and never sends it twice.
--
-- Inserted by: registrar_changes (flip, rollback and DS), only for an active allocation.
-- Changed by:  registrar_changes, until the outcome is known: by reading back, or by what the parent zone shows.
-- Deleted by:  nobody: the history of each allocation at its registrar.
CREATE TABLE registrar_changes (
    id            bigint      NOT NULL GENERATED ALWAYS AS IDENTITY, -- in the order in which they were noted
    allocation_id uuid        NOT NULL,               -- allocations.id; that row may be gone
    fqdn          text COLLATE "C" NOT NULL,          -- the domain
    registrar     text        NOT NULL,               -- its name in our words
    kind          text        NOT NULL,               -- what was asked for; see registrar_changes_kind_check
    wanted        text[]      NOT NULL,               -- nameservers, or DS, as they should be afterwards
    requested_at  timestamptz NOT NULL DEFAULT now(), -- when it was noted, just before it was sent
    operation     text,                               -- the registrar's id of a change it still carries out
    problem       text,                               -- why it failed or is not sure, or how it was found to be done
    settled_at    timestamptz,                        -- when the outcome became known; null: it is not
    outcome       text        NOT NULL DEFAULT 'requested', -- see registrar_changes_outcome_check

    -- Serves: which change is to be settled?
    CONSTRAINT registrar_changes_pkey PRIMARY KEY (id),

    -- What a registrar is asked for, and who goes on once it is made.
    CONSTRAINT registrar_changes_kind_check CHECK (kind IN (
        'nameservers', -- the flip, to the platform's. Next: the watch, which follows the delegation
        'rollback',    -- back to those of the undo sheet. Next: nobody; the holder may release the domain
        'ds',          -- the platform's DS, once converged. Next: the watch, which sees it in the parent zone
        'ds-removal'   -- away with it, before a rollback. Next: the caller, who rolls back after the DS's TTL
    )),

    -- What is known of how it ended. "Not known" is an outcome as well, and the usual one after a crash.
    CONSTRAINT registrar_changes_outcome_check CHECK (outcome IN (
        'requested', -- sent, or about to be. Next: the caller, whose retry reads it back, or the watch
        'pending',   -- taken, not on record yet. Next: the registrar, then as above
        'done',      -- made. Next: nobody
        'failed'     -- surely not made. Next: the caller, who may ask for it again
    )),

    -- An outcome that is known has its time; one that is not has none.
    CONSTRAINT registrar_changes_check CHECK ((settled_at IS NULL) = (outcome IN ('requested', 'pending')))
);

-- Forbids a second change of a domain while the outcome of one is not known, in the whole deployment.
CREATE UNIQUE INDEX registrar_changes_open ON registrar_changes (allocation_id) WHERE settled_at IS NULL;

-- Serves: what was the last change of an allocation, of these kinds?
CREATE INDEX registrar_changes_allocation ON registrar_changes (allocation_id, id);

--- Pool domains at their registrar -----------------------------------------------------------------------------------

-- A row is a pool domain whose nameservers and DS the service keeps as they should be at the pool registrar.
--
-- Inserted by: pool_registrations, when a replica takes the domain for the first time.
-- Changed by:  pool_registrations: the leases and outcomes of pools.registration, in all replicas.
-- Deleted by:  nobody. The row of a domain that is no pool domain any more stays as it was last seen.
CREATE TABLE pool_registrations (
    pool_domain text COLLATE "C" NOT NULL,            -- the domain
    state       text        NOT NULL DEFAULT 'unknown', -- see pool_registrations_state
    nameservers text[],                               -- on record at the registrar, as last seen; null: never seen
    ds          text[],                               -- likewise the DS; null: the registrar does not tell
    problem     text,                                 -- what is wrong, or what is awaited; null: nothing
    operation   text,                                 -- the registrar's id of a change it still carries out
    checked_at  timestamptz,                          -- the last check, whatever came of it
    moved_at    timestamptz,                          -- the last change of nameservers, noted before it was sent
    signed_at   timestamptz,                          -- the last change of the DS, noted before it was sent
    repaired_at timestamptz,                          -- the last check that found a difference and had it corrected
    due_at      timestamptz NOT NULL DEFAULT now(),   -- when it is checked next
    lease_id    uuid,                                 -- the replica that checks it; null: none
    lease_until timestamptz,                          -- until when

    -- One row a pool domain. There are few: no other index is worth its upkeep.
    CONSTRAINT pool_registrations_pkey PRIMARY KEY (pool_domain),

    -- What the last check found.
    CONSTRAINT pool_registrations_state CHECK (state IN (
        'unknown',  -- not checked yet. Next: the first replica that finds it due
        'in-order', -- nameservers and DS are the platform's. Next: nobody, until it is due again
        'changing', -- a change was sent and is not on record yet. Next: the registrar; it is checked again soon
        'failed'    -- `problem` says why. Next: an operator, if it persists; it is tried again by itself
    ))
);

--- The audit trail ---------------------------------------------------------------------------------------------------

-- A row is something that happened to a name, appended in the transaction of the change that it tells of. What the
-- actions are, from which state to which, is in docs/api.md.
--
-- Inserted by: each statement that makes a transition, in all modules above.
-- Changed by:  nobody.
-- Deleted by:  events (housekeeping), when older than PDM_EVENTS_RETENTION.
CREATE TABLE events (
    id            bigint      NOT NULL GENERATED ALWAYS AS IDENTITY, -- the place in the trail of one name
    xid           xid8        NOT NULL DEFAULT pg_current_xact_id(), -- with id the place in the trail of all names
    at            timestamptz NOT NULL DEFAULT now(), -- when
    fqdn          text COLLATE "C" NOT NULL,          -- the name
    allocation_id uuid        NOT NULL,               -- the allocation or claim, which may be gone
    action        text        NOT NULL,               -- what happened: reserved, committed, published, …
    actor         text        NOT NULL,               -- the client, or publisher, watch, registrar, clock, claim
    tenant        text,                               -- for whom it was reserved; only in entries of that
    request_id    text,                               -- X-Request-Id of the call; null: nobody called
    from_state    text,                               -- state before; null: there was no row
    to_state      text,                               -- state after; null: the row is gone
    outcome       text,                               -- more, in words: the proof, what differed, what was wanted

    -- Serves: no question; it keeps places unique.
    CONSTRAINT events_pkey PRIMARY KEY (id)
);

-- Serves: what happened to this name, in order?
CREATE INDEX events_fqdn ON events (fqdn, id);

-- Serves: what happened since this place, over all names (export)? Entries of transactions under way are left out
-- until none can slip in before them, which ids alone cannot tell.
CREATE INDEX events_order ON events (xid, id);

-- Serves: what is old enough to be deleted; what happened since then? Rows lie in order of time: BRIN will do.
CREATE INDEX events_at ON events USING brin (at);

-- Serves: how many reservations did this client make in the last hour and day (quotas)? `local` has no quota.
CREATE INDEX events_reserved ON events (actor, at) WHERE action = 'reserved' AND actor <> 'local';
