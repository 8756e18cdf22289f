"""The store on a database of its own: its parts, what its rows say, and rows in every state to begin with."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from pdm_service.callers import Actor
from pdm_service.model.allocation import Ages, Allocation, Claim, Mode, Proof
from pdm_service.model.records import RRset
from pdm_service.model.standing import Question
from pdm_service.model.tokens import Credentials
from pdm_service.store.allocations import Allocations, Reservation
from pdm_service.store.availability import Availability
from pdm_service.store.claims import Claims, NewClaim, Wish
from pdm_service.store.database import Database
from pdm_service.store.declarations import Declaration, Declarations
from pdm_service.store.events import Trail
from pdm_service.store.holdings import Holdings
from pdm_service.store.pool_registrations import Registrations
from pdm_service.store.registrar_changes import Change, Changes, Kind, Result, UndoSheet
from pdm_service.store.rows import Lease
from pdm_service.store.watches import Watches
from pdm_service.store.worklist import Worklist

Row = dict[str, Any]

POOL, FQDN, DOMAIN = "pool.test", "acme.pool.test", "acme.example"
ADDRESSES = ["192.0.2.1", "2001:db8::1"]
TTL, MINUTE, HOUR, DAY = timedelta(minutes=10), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
QUARANTINE = timedelta(days=30)
# Who calls, another client, and one that may do everything.
CLIENT, OTHER, OPERATOR = Actor("client", "r-1"), Actor("other", "r-2"), Actor("operator", "r-3", everything=True)
WATCH = Actor("watch")
WISH = Wish(
    addresses=tuple(ADDRESSES), sovereign_fqdn="acme.platform.test",
    imports=(RRset(name=f"{DOMAIN}.", type="MX", ttl=60, contents=("10 mail.example.",)),),
)  # fmt: skip


class Entry(NamedTuple):
    """An entry of the audit trail, without what each has of its own."""

    action: str
    from_state: str | None
    to_state: str | None
    actor: str
    outcome: str | None = None
    request_id: str | None = None


def said(
    action: str, from_state: str | None, to_state: str | None, outcome: str | None = None, by: Actor = CLIENT
) -> Entry:
    """What the trail has of a caller's call."""
    return Entry(action, from_state, to_state, by.name, outcome, by.request_id)


RESERVED, COMMITTED = said("reserved", None, "reserved"), said("committed", "reserved", "active")
CLAIMED = said("reserved", None, "reserved", "byo-manual")


class Store:
    """All parts of the store."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.availability = Availability(database)
        self.allocations = Allocations(database, self.availability, Ages())
        self.holdings = Holdings(database)
        self.claims = Claims(database, Ages())
        self.declarations = Declarations(database, self.allocations, self.availability)
        self.worklist = Worklist(database, MINUTE, QUARANTINE)
        self.watches = Watches(database, timedelta())
        self.changes = Changes(database)
        self.registrations = Registrations(database)
        self.trail = Trail(database)

    # --- what the rows say ---------------------------------------------------------------------

    async def sql(self, statement: LiteralString, *values: object) -> list[Row]:
        return [dict(row) for row in await self.database.rows(statement, *values)]

    async def rows(self, table: LiteralString) -> list[Row]:
        return await self.sql(f"SELECT * FROM {table} ORDER BY 1")

    async def row(self, table: LiteralString) -> Row:
        """The one row of a table."""
        (row,) = await self.rows(table)
        return row

    async def held(self, fqdn: str = FQDN) -> Row:
        """The row of an allocation."""
        (row,) = await self.sql("SELECT * FROM allocations WHERE fqdn = $1", fqdn)
        return row

    async def events(self, fqdn: str = FQDN) -> list[Entry]:
        """What the trail says of a name."""
        rows = await self.sql(
            "SELECT action, from_state, to_state, actor, outcome, request_id FROM events WHERE fqdn = $1 ORDER BY id",
            fqdn,
        )
        return [Entry(**row) for row in rows]

    async def everything(self) -> dict[str, list[str]]:
        tables = await self.sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
        )
        found = {}
        for name in (row["table_name"] for row in tables):
            rows = await self.sql(f"SELECT t::text AS text FROM {name} t ORDER BY 1")
            found[name] = [row["text"] for row in rows]
        return found

    @asynccontextmanager
    async def unchanged(self) -> AsyncIterator[None]:
        """Assert that what is done in the block changes no row of any table."""
        before = await self.everything()
        yield
        assert await self.everything() == before

    async def now(self) -> Any:
        (row,) = await self.sql("SELECT now() AS now")
        return row["now"]

    # --- rows in every state ---------------------------------------------------------------------

    async def reserved(self, fqdn: str = FQDN, by: Actor = CLIENT, **more: Any) -> Allocation:
        held = await self.allocations.reserve(reservation(fqdn, **more), by)
        assert held is not None
        return held

    async def expired(self, fqdn: str = FQDN, by: Actor = CLIENT, **more: Any) -> Allocation:
        return await self.reserved(fqdn, by, ttl=-MINUTE, **more)

    async def active(self, fqdn: str = FQDN, by: Actor = CLIENT, **more: Any) -> Allocation:
        await self.reserved(fqdn, by, **more)
        held = await self.allocations.commit(fqdn, digest(fqdn), ADDRESSES, None, by)
        assert held is not None
        return held

    async def releasing(self, fqdn: str = FQDN, by: Actor = CLIENT, **more: Any) -> Allocation:
        held = await self.allocations.release_active(await self.active(fqdn, by, **more), by)
        assert held is not None
        return held

    async def leased(self) -> Lease[Allocation]:
        """A lease of the one row that is due."""
        (lease,) = await self.worklist.lease(10, 10)
        return lease

    async def published(self, fqdn: str = FQDN, by: Actor = CLIENT, **more: Any) -> Allocation:
        """A name whose DNS is there, to be audited in an hour."""
        await self.active(fqdn, by, **more)
        assert await self.worklist.record_published(await self.leased(), ["1 13 2 ab"], HOUR, "published")
        found = await self.allocations.find(fqdn)
        assert found is not None
        return found

    async def quarantined(self, fqdn: str = FQDN, by: Actor = CLIENT, **more: Any) -> None:
        """A name that DNS has no more, kept for its last holder."""
        await self.releasing(fqdn, by, **more)
        assert await self.worklist.record_removed(await self.leased())

    async def declared(self, *addresses: str, fqdn: str = FQDN, by: Actor = CLIENT) -> Allocation:
        held = await self.declarations.make(declaration(*addresses, fqdn=fqdn), by)
        assert held is not None
        return held

    async def claimed(
        self, fqdn: str = DOMAIN, by: Actor = CLIENT, outdated: datetime | None = None, **more: Any
    ) -> Claim:
        return await self.claims.open(new_claim(fqdn, **more), by, outdated)

    async def wished(self, fqdn: str = DOMAIN, by: Actor = CLIENT, **more: Any) -> Claim:
        """A claim whose holder has committed."""
        claim = await self.claims.wish((await self.claimed(fqdn, by, **more)).id, WISH, by)
        assert claim is not None
        return claim

    async def adopted(
        self, fqdn: str = DOMAIN, by: Actor = CLIENT, proof: Proof = Proof.TXT, **more: Any
    ) -> Allocation:
        """A customer's domain, active."""
        claim = await self.wished(fqdn, by, **more)
        await self.claims.prove([claim.id], proof, WATCH)
        held = await self.claims.adopt(claim.id, by)
        assert held is not None
        return held

    async def change(self, held: Allocation, kind: Kind = "nameservers", outcome: Result = "requested") -> Change:
        """A change at the registrar, and what became of it."""
        change = await self.changes.begin(held, "ovh", kind, ["ns1.platform.test", "ns2.platform.test"], CLIENT)
        assert change is not None
        if outcome != "requested":
            await self.changes.note(change, outcome)
        return change

    async def clear(self) -> None:
        """Forget the trail so far."""
        await self.sql("DELETE FROM events")


def digest(fqdn: str) -> bytes:
    """Stands for the digest of the token of a name."""
    return f"token of {fqdn}".encode()


def reservation(
    fqdn: str = FQDN, *, ttl: timedelta = TTL, key: bytes | None = None, tenant: str | None = None,
    token: bytes | None = None,
) -> Reservation:  # fmt: skip
    label, _, pool = fqdn.partition(".")
    return Reservation(
        fqdn=fqdn, mode=Mode.POOL, pool_domain=pool, subdomain=label, created_by="ann", ttl=ttl, tenant=tenant,
        credentials=Credentials(
            token_digest=token or digest(fqdn), token_nonce=key and b"nonce", idempotency_digest=key,
            request_digest=b"request",
        ),
    )  # fmt: skip


def new_claim(
    fqdn: str = DOMAIN, *, token: bytes = b"token", mode: Mode = Mode.BYO_MANUAL, ttl: timedelta = TTL,
    key: bytes | None = None, tenant: str | None = None, registered_at: datetime | None = None,
    challenge: str = "challenge", above_others: bool = False,
) -> NewClaim:  # fmt: skip
    return NewClaim(
        fqdn=fqdn, mode=mode, created_by="ann", ttl=ttl, challenge=challenge, tenant=tenant,
        registered_at=registered_at, above_others=above_others,
        credentials=Credentials(
            token_digest=token, token_nonce=key and b"nonce", idempotency_digest=key, request_digest=b"request"
        ),
    )  # fmt: skip


def declaration(*addresses: str, fqdn: str = FQDN, **more: Any) -> Declaration:
    label, _, pool = fqdn.partition(".")
    values = {"tenant": "team", "created_by": "ann", "sovereign_fqdn": None, **more}
    return Declaration(fqdn=fqdn, pool_domain=pool, subdomain=label, addresses=addresses, **values)


def sheet(registrar: str = "ovh", nameservers: tuple[str, ...] = ("ns1.old.test", "ns2.old.test")) -> UndoSheet:
    return UndoSheet(
        registrar=registrar, nameservers=nameservers, ds=("1 13 2 ab",), parent_ttl=3600, acknowledged=("BYO-X",),
        rrsets=WISH.imports,
    )  # fmt: skip


def question(fqdn: str = FQDN, owner: str = "other", tenant: str | None = None) -> Question:
    label, _, pool = fqdn.partition(".")
    return Question(fqdn, pool, label, owner, tenant)


def changed(before: Row, after: Row) -> set[str]:
    """The columns in which two rows differ."""
    return {column for column in before if before[column] != after[column]}


def ids(held: Sequence[Allocation]) -> list[UUID]:
    return [one.id for one in held]
