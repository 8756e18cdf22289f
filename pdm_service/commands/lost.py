"""`pdm adopt`, `pdm discard`: what becomes of a zone that the database has lost; with the settings of `pdm serve`."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import click

from pdm_service import names
from pdm_service.commands.connection import say
from pdm_service.errors import Conflict, StoreUnavailable
from pdm_service.model import tokens, zone
from pdm_service.model.tokens import Credentials
from pdm_service.parts import Outside, outside, telemetry
from pdm_service.powerdns import PowerDnsError
from pdm_service.settings import Settings, SettingsError, read
from pdm_service.store.database import Database
from pdm_service.store.events import Trail
from pdm_service.store.lost import Found, Lost


@click.command()
@click.argument("name")
@click.option("--owner", default="local", show_default=True, help="The client that it belongs to.")
@click.option("--tenant", help="Whom the client acts for.")
@click.option("--instead", is_flag=True, help="End the reservation that somebody else has of the name meanwhile.")
def adopt(name: str, owner: str, tenant: str | None, *, instead: bool) -> None:
    """Take NAME back: a zone in DNS whose allocation the database has lost becomes an allocation again.

    Its addresses and keys stay as they are. Prints the reservation token that its holder needs from now on, once.
    """
    _run(_adopt(_settings(), name, owner, tenant, instead=instead))


@click.command()
@click.argument("name")
def discard(name: str) -> None:
    """Give NAME up: a zone in DNS whose allocation the database has lost is removed, as what a release left behind."""
    _run(_discard(_settings(), name))


async def _adopt(settings: Settings, name: str, owner: str, tenant: str | None, *, instead: bool) -> None:
    async with _found(settings, name) as (found, lost):
        if not found.addresses:
            raise click.ClickException(f"the zone of {found.fqdn} has no address at its apex to serve")
        token = tokens.made(secrets.token_bytes(16), None)
        await lost.adopt(found, owner, tenant, Credentials(token_digest=tokens.digest(token)), instead=instead)
        say(f"{found.fqdn} is an allocation again, {found.id}, of {owner}")
        say(f"its reservation token, shown once: {token}")


async def _discard(settings: Settings, name: str) -> None:
    async with _found(settings, name) as (found, lost):
        await lost.discard(found.fqdn, found.id)
        minutes = settings.audit_interval.total_seconds() / 60
        say(f"the zone of {found.fqdn} is given up, and goes within some {minutes:.0f} minutes")


@asynccontextmanager
async def _found(settings: Settings, name: str) -> AsyncIterator[tuple[Found, Lost]]:
    """Yield the lost zone of a name, and the way to decide about it; raises ClickException where it is not lost."""
    fqdn = names.domain(name)
    database = Database(settings.database_url, 2)
    beyond = outside(settings, telemetry(settings))
    await database.open()
    try:
        lost = Lost(database)
        found = await _seen(settings, beyond, fqdn)
        if not await lost.without_allocation([(fqdn, found.id)]):
            raise click.ClickException(f"{fqdn} is an allocation, {found.id}: nothing is lost")
        if await Trail(database).ended([(fqdn, found.id)]):
            raise click.ClickException(f"the allocation of {fqdn} is known to have ended: its zone goes by itself")
        yield found, lost
    finally:
        await beyond.powerdns.close()
        await database.close()


async def _seen(settings: Settings, beyond: Outside, fqdn: str) -> Found:
    """Return what PowerDNS has of a name; raises ClickException, PowerDnsError."""
    name = f"{fqdn}."
    seen = await beyond.powerdns.zone(name, rrset=name)
    id_ = zone.holding_of(seen.account) if seen else None
    if seen is None or id_ is None:
        raise click.ClickException(f"PowerDNS has no zone {fqdn} that this service has made")
    return Found(
        fqdn=fqdn,
        id=id_,
        pool_domain=names.pool_of(fqdn, settings.pool_domains),
        addresses=tuple(one for rrset in seen.sets() if rrset.type in zone.ADDRESS_TYPES for one in rrset.contents),
        ds=await beyond.powerdns.ds(name),
    )


def _settings() -> Settings:
    try:
        return read(os.environ)
    except SettingsError as error:
        say(str(error), err=True)
        sys.exit(2)


def _run(work: Coroutine[None, None, None]) -> None:
    try:
        asyncio.run(work)
    except (Conflict, StoreUnavailable, PowerDnsError) as error:
        say(str(error), err=True)
        sys.exit(1)
