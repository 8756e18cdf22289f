"""`pdm doctor`: examine everything that a deployment depends on, with the settings of `pdm serve`, by reading alone."""

import asyncio
import functools
import os
import sys
from collections.abc import AsyncIterator
from typing import Literal

import click
import msgspec

from adapters.all import registrars
from adapters.base import RegistrarError
from adapters.http import Http
from pdm_service import callers, tls
from pdm_service.callers.token_review import AUDIENCE, TokenReview
from pdm_service.commands.connection import say
from pdm_service.dns_client import NoAnswer
from pdm_service.model import zone
from pdm_service.model.records import Nameserver
from pdm_service.powerdns import PowerDns, PowerDnsError, Untrusted
from pdm_service.publisher import nameservers
from pdm_service.publisher.nameservers import NotSeen
from pdm_service.registrars import as_error
from pdm_service.settings import Settings, SettingsError, read
from pdm_service.settings.live_file import content
from pdm_service.store import condition
from pdm_service.store.migrate import HEAD, DatabaseAway, SessionsShared

Verdict = Literal["ok", "warn", "fail"]

_POSTGRES = 14
_POWERDNS = (4, 7)
_SECONDS = 8.0
# https://doc.powerdns.com/authoritative/settings.html
_WANTED = {
    "zone-cache-refresh-interval": ("0", "zones that one PowerDNS makes are unknown to the others for that long"),
    "enable-lua-records": ("yes", "LUA records of other controllers are not answered"),
    "api": ("yes", "the API is off"),
    "default-soa-edit-signed": ("INCEPTION-EPOCH", "the serial of a signed zone does not move with its signatures"),
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was examined."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what was found, one dependency after the other."""
    async for finding in _database(settings):
        yield finding
    trusted = None
    if settings.pdns_ca_file is not None:
        trusted = functools.partial(tls.trusting, settings.pdns_ca_file)
    powerdns = PowerDns(
        settings.pdns_base_url, settings.pdns_api_key, settings.pdns_server_id, 2, lambda _1, _2, _3: None, trusted
    )
    try:
        async for finding in _powerdns(settings, powerdns):
            yield finding
    finally:
        await powerdns.close()
    async for finding in _registrar(settings):
        yield finding
    async for finding in _callers(settings):
        yield finding


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    try:
        found = await condition.examined(settings.database_url, _SECONDS)
    except DatabaseAway as error:
        remedy = "see that PDM_DATABASE_URL names a server that runs, and a user and database that exist"
        yield Finding("database", "fail", f"cannot be reached ({error})", remedy)
        return
    except SessionsShared as error:
        found_out, _, remedy = str(error).partition(": ")
        yield Finding("database", "fail", found_out, remedy)
        return
    if found.major < _POSTGRES:
        yield Finding("database", "fail", f"PostgreSQL {found.major}", f"use PostgreSQL {_POSTGRES} or later")
    else:
        yield Finding("database", "ok", f"PostgreSQL {found.major}.{found.minor}")
    if found.replica:
        yield Finding("database role", "fail", "a replica, read-only", "name the primary (-rw) in PDM_DATABASE_URL")
    if found.standbys and not found.waits:
        text = f"{found.standbys}, and no commit waits for one: what was acknowledged can be lost with the primary"
        remedy = "make the replication synchronous: `postgresql.synchronous` of a CloudNativePG Cluster"
        yield Finding("database standbys", "warn", text, remedy)
    if found.waits and not found.standbys and not found.replica:
        text = "commits wait for a standby, and none is there: nothing can be written"
        yield Finding("database standbys", "fail", text, "bring a standby back; docs/runbooks/PDMWritesWait.md")
    need = settings.database_connections + 10
    if found.max_connections < 2 * need:
        text = f"{found.max_connections} connections at most; one replica takes {need}"
        remedy = "raise max_connections, or lower PDM_DATABASE_CONNECTIONS"
        yield Finding("database connections", "warn", text, remedy)
    if found.revision is None or found.revision < HEAD:
        text = f"`pdm migrate` or `pdm serve` brings it to {HEAD}"
        yield Finding("schema", "warn", found.revision or "none", text)
    else:
        yield Finding("schema", "ok", found.revision)


async def _powerdns(settings: Settings, powerdns: PowerDns) -> AsyncIterator[Finding]:
    try:
        version = await powerdns.version()
        config = await powerdns.config()
    except Untrusted as error:
        remedy = "see PDM_PDNS_CA_FILE, the name in PDM_PDNS_BASE_URL, and the dates of the certificate"
        yield Finding("PowerDNS", "fail", str(error), remedy)
        return
    except PowerDnsError as error:
        remedy = "see that PDM_PDNS_BASE_URL, PDM_PDNS_API_KEY and PDM_PDNS_SERVER_ID are those of its API"
        yield Finding("PowerDNS", "fail", str(error), remedy)
        return
    numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    remedy = "" if numbers >= _POWERDNS else "use PowerDNS 4.7 or later"
    yield Finding("PowerDNS", "ok" if numbers >= _POWERDNS else "warn", version, remedy)
    for name, (value, why) in _WANTED.items():
        if name in config and config[name] != value:
            yield Finding(f"PowerDNS {name}", "warn", config[name] or "not set", f"set {name}={value}: else {why}")
    for domain in settings.pool_domains:
        yield await _pool(settings, powerdns, domain)
    asked = nameservers.Nameservers(settings.nameservers, settings.nameserver_addresses, powerdns)
    try:
        servers = await asked.addresses()
    except NotSeen as error:
        yield Finding("nameservers", "fail", str(error), "set PDM_NAMESERVER_ADDRESSES")
        return
    for server in servers:
        for domain in settings.pool_domains:
            yield await _answers(server, domain)


async def _pool(settings: Settings, powerdns: PowerDns, domain: str) -> Finding:
    what, name = f"pool zone {domain}", f"{domain}."
    try:
        found = await powerdns.zone(name, rrset=name)
        ds = await powerdns.ds(name) if found else ()
        metadata = await powerdns.metadata(name) if found else {}
    except PowerDnsError as error:
        return Finding(what, "fail", str(error), "see the log of PowerDNS")
    if found is None:
        return Finding(what, "warn", "not there", "`pdm serve` makes it")
    if not ds:
        return Finding(what, "fail", "not signed", "`pdm serve` signs it; its DS then belongs at the registrar")
    if any(metadata.get(kind) != values for kind, values in zone.POOL_METADATA.items()):
        return Finding(what, "warn", "other DNSSEC settings than a zone of delegations needs", "`pdm serve` sets them")
    hosts = {host for rrset in found.sets() if rrset.type == "NS" for host in rrset.contents}
    if hosts != {f"{host}." for host in settings.nameservers}:
        text = f"its NS RRset is {', '.join(sorted(hosts))}"
        return Finding(what, "warn", text, "make it the same as PDM_NAMESERVERS, or change that setting")
    return Finding(what, "ok", f"signed, DS {ds[0]}")


async def _answers(server: Nameserver, domain: str) -> Finding:
    what = f"nameserver {server.name or server.address}"
    try:
        answer = await nameservers.ask(server, domain, "SOA")
    except NoAnswer as error:
        return Finding(what, "fail", str(error), f"let UDP and TCP to {server.address} port {server.port} through")
    if not (answer.records and answer.authoritative):
        return Finding(what, "fail", f"is not authoritative for {domain}", "see that it has PowerDNS's database")
    return Finding(what, "ok", f"answers for {domain}")


async def _registrar(settings: Settings) -> AsyncIterator[Finding]:
    if settings.pool_registrar is None or settings.pool_registrar_token is None:
        remedy = "set PDM_POOL_REGISTRAR and its token, or keep nameservers and DS of the pool domains by hand"
        yield Finding("pool registrar", "warn", "none", remedy)
        return
    way_out = Http(settings.pool_registrar)
    found = registrars(lambda _: way_out, settings.registrar_urls, settings.registrar_options)
    try:
        for domain in settings.pool_domains:
            try:
                seen = await found[settings.pool_registrar].validate(
                    settings.pool_registrar_token, domain, within=_SECONDS
                )
            except RegistrarError as failure:
                yield Finding(f"registrar, {domain}", "fail", as_error(failure).code, failure.detail)
                continue
            if set(seen.nameservers) != set(settings.nameservers):
                text = f"nameservers on record: {', '.join(seen.nameservers)}"
                yield Finding(f"registrar, {domain}", "warn", text, "`pdm serve` sets the platform's")
            else:
                yield Finding(f"registrar, {domain}", "ok", "the platform's nameservers are on record")
    finally:
        await way_out.close()


async def _callers(settings: Settings) -> AsyncIterator[Finding]:
    if settings.auth_tokens_file is None:
        remedy = "fine on your own machine; elsewhere set PDM_AUTH_TOKENS_FILE"
        yield Finding("callers", "warn", "not distinguished: everybody who reaches the port is trusted", remedy)
    else:
        yield Finding("callers", "ok", "distinguished by a file that can be read")
        clients = content(settings.auth_tokens_file, callers.read)
        if clients.use_certificates and settings.tls_client_ca_file is None:
            text = "in the file of callers, but clients are not asked for any"
            yield Finding("certificates", "warn", text, "set PDM_TLS_CLIENT_CA_FILE")
    if settings.kubernetes_url is None:
        return
    review = TokenReview(settings.kubernetes_url, settings.kubernetes_token_file, settings.kubernetes_ca_file)
    try:
        # A token that is nobody's: what counts is that the question may be asked.
        await review.username("doctor", b"")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was found
        remedy = f"give this ServiceAccount `create` on tokenreviews; see PDM_KUBERNETES_URL (audience {AUDIENCE})"
        yield Finding("TokenReview", "fail", str(error), remedy)
    else:
        yield Finding("TokenReview", "ok", "may be asked")
    finally:
        await review.close()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, as_json: bool) -> None:
    """Examine every dependency of a deployment, and say what to fix; exit code 1 if something does not work.

    Takes the settings of `pdm serve` from the environment. Changes nothing.
    """
    try:
        settings = read(os.environ)
    except SettingsError as error:
        say(str(error), err=True)
        sys.exit(2)
    found = asyncio.run(_all(settings, quiet=as_json))
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(found)).decode())
    sys.exit(any(one.verdict == "fail" for one in found))


async def _all(settings: Settings, *, quiet: bool) -> list[Finding]:
    found = []
    async for one in examine(settings):
        found.append(one)
        if not quiet:
            say(f"{one.verdict:4}  {one.what}: {one.found}" + (f"\n      {one.remedy}" if one.remedy else ""))
    return found
