"""The operator's commands against a running service: tables for people, JSON for programs."""

from collections.abc import Sequence
from typing import Any

import click
import msgspec
from tabulate import tabulate

from pdm_service.commands.connection import Connection, connected, say
from pdm_service.wire import AllocationReply, Challenge

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _print(found: Any, rows: Sequence[Sequence[object]], headers: Sequence[str] = (), *, as_json: bool) -> None:
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    text = [
        ["" if cell is None else f"{cell:%Y-%m-%d %H:%M:%S}" if hasattr(cell, "year") else cell for cell in row]
        for row in rows
    ]
    say(tabulate(text, headers=headers, tablefmt="plain" if not headers else "simple", disable_numparse=True))


def _facts(one: AllocationReply) -> list[tuple[str, object]]:
    """Return what there is to say of an allocation, a line each."""
    facts = (
        ("name", one.fqdn), ("mode", one.mode), ("state", one.state), ("dns", one.dns.state),
        ("needs", one.dns.needs), ("error", one.dns.last_error), ("addresses", ", ".join(one.load_balancer_ips or [])),
        ("sovereign", one.sovereign_fqdn), ("created by", one.created_by), ("tenant", one.tenant),
        ("reserved", one.reserved_at), ("expires", one.expires_at), ("committed", one.committed_at),
        ("nameservers", ", ".join(one.nameservers)), ("DS", "\n".join(one.dnssec.ds) if one.dnssec else None),
        ("TXT to set", f"{one.challenge.name} {one.challenge.value}" if one.challenge else None),
        ("looked for", one.challenge.looked_at if one.challenge else None), ("seen there", _seen(one.challenge)),
        ("kept until", one.keep_until), ("warning", one.warning), ("token", one.reservation_token),
    )  # fmt: skip
    return [(name, value) for name, value in facts if value]


def _seen(challenge: Challenge | None) -> str:
    """Return what was seen where a challenge has to stand, a line each nameserver."""
    lines = [
        f"{one.name} {one.address or ''} {one.state} {one.doubled or one.alias or one.error or ''} "
        + " ".join(f'"{text}"' for text in one.texts or [])
        for one in (challenge.seen if challenge else None) or []
    ]
    return "\n".join(" ".join(line.split()) for line in lines)


@click.command()
@click.argument("fqdn")
@JSON
@connected
async def check(connection: Connection, *, fqdn: str, as_json: bool) -> int:
    """Return whether a name is free; exit code 1 if it is not."""
    label, _, pool = fqdn.partition(".")
    async with connection.client() as pdm:
        found = await pdm.check(pool, label)
    verdict = "free" if found.available else f"not free ({found.reason})"
    _print(found, [(fqdn, verdict, found.detail or found.warning or "")], as_json=as_json)
    return 0 if found.available else 1


@click.command()
@click.argument("fqdn")
@click.option("--mode", type=click.Choice(["pool", "byo-manual", "byo-api"]), default="pool", show_default=True)
@click.option("--ttl", type=int, help="Seconds to hold it.")
@click.option("--created-by")
@click.option("--tenant", help="For whom.")
@click.option("--allocation-key", envvar="PDM_ALLOCATION_KEY", help="Opens a brand.")
@JSON
@connected
async def reserve(
    connection: Connection, *, fqdn: str, mode: str, ttl: int | None, created_by: str | None, tenant: str | None,
    allocation_key: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Hold a name; the token is shown once."""
    async with connection.client() as pdm:
        if mode == "pool":
            label, _, pool = fqdn.partition(".")
            held = await pdm.reserve(
                pool, label, created_by=created_by, ttl_seconds=ttl, tenant=tenant, allocation_key=allocation_key
            )
        else:
            held = await pdm.reserve_domain(fqdn, mode=mode, created_by=created_by, ttl_seconds=ttl, tenant=tenant)
    _print(held, _facts(held), as_json=as_json)


@click.command()
@click.argument("fqdn")
@click.argument("addresses", nargs=-1, required=True)
@click.option("--token", envvar="PDM_TOKEN", required=True, help="The reservation's token.")
@click.option("--sovereign-fqdn")
@click.option("--registrar")
@click.option("--registrar-token", envvar="PDM_REGISTRAR_TOKEN")
@click.option("--acknowledge", multiple=True, help="A code of the pre-flight that is known and accepted.")
@JSON
@connected
async def commit(
    connection: Connection, *, fqdn: str, addresses: tuple[str, ...], token: str, as_json: bool, **more: Any
) -> None:
    """Publish a reserved name at one or more addresses."""
    async with connection.client() as pdm:
        held = await pdm.commit(fqdn, token, addresses, **more)
    _print(held, _facts(held), as_json=as_json)


@click.command()
@click.argument("fqdn")
@click.option("--token", envvar="PDM_TOKEN", help="Only if its holder is still the same.")
@click.option("--force", is_flag=True, help="Also while a customer's domain still points here.")
@click.option("--registrar")
@click.option("--registrar-token", envvar="PDM_REGISTRAR_TOKEN")
@JSON
@connected
async def release(connection: Connection, *, fqdn: str, as_json: bool, **more: Any) -> None:
    """Give a name back."""
    async with connection.client() as pdm:
        left = await pdm.release(fqdn, more.pop("token"), **more)
    if left is None:
        say(f"{fqdn} was released already")
        return
    _print(left, _facts(left), as_json=as_json)


@click.command("list")
@click.option("--pool", "pool_domain")
@click.option("--mode", type=click.Choice(["pool", "byo-manual", "byo-api"]))
@click.option("--state", type=click.Choice(["reserved", "active", "releasing"]))
@click.option("--created-by")
@click.option("--tenant")
@JSON
@connected
async def list_allocations(connection: Connection, *, as_json: bool, **more: Any) -> None:
    """List allocations."""
    async with connection.client() as pdm:
        found = [one async for one in pdm.allocations(**more)]
    rows = [
        (
            one.fqdn,
            one.mode,
            one.state,
            one.dns.state,
            ", ".join(one.load_balancer_ips or []),
            one.tenant,
            one.reserved_at,
        )
        for one in found
    ]
    _print(found, rows, ("name", "mode", "state", "dns", "addresses", "tenant", "reserved"), as_json=as_json)


@click.command()
@click.argument("fqdn")
@JSON
@connected
async def show(connection: Connection, *, fqdn: str, as_json: bool) -> None:
    """Show one allocation."""
    async with connection.client() as pdm:
        found = await pdm.find(fqdn)
    _print(found, _facts(found), as_json=as_json)


@click.command()
@click.argument("fqdn")
@JSON
@connected
async def events(connection: Connection, *, fqdn: str, as_json: bool) -> None:
    """Show what happened to a name, oldest first."""
    async with connection.client() as pdm:
        found = [one async for one in pdm.events(fqdn)]
    rows = [(one.at, one.action, one.actor, one.from_state, one.to_state, one.outcome, one.request_id) for one in found]
    _print(found, rows, ("at", "action", "by", "from", "to", "outcome", "request"), as_json=as_json)


@click.command()
@click.argument("domain")
@click.option("--fresh", is_flag=True, help="Look now.")
@JSON
@connected
async def delegation(connection: Connection, *, domain: str, fresh: bool, as_json: bool) -> None:
    """Show how far a delegation has come, server by server."""
    async with connection.client() as pdm:
        found = await pdm.delegation(domain, fresh=fresh)
    if not as_json:
        say(f"{found.domain}: {found.phase}, DNSSEC {found.dnssec}, seen {found.checked_at:%Y-%m-%d %H:%M:%S}")
        for problem in found.problems:
            say(f"  {problem.code} ({problem.severity}): {problem.seen}. {problem.remedy}")
    rows = [
        (one.role, one.name, one.address, one.state, ", ".join(one.nameservers or []), one.error)
        for one in found.servers
    ]
    _print(found, rows, ("role", "server", "address", "state", "nameservers", "error"), as_json=as_json)


@click.command()
@click.argument("registrar")
@click.argument("domain")
@click.option("--token", envvar="PDM_REGISTRAR_TOKEN", required=True, help="The registrar's token.")
@JSON
@connected
async def validate(connection: Connection, *, registrar: str, domain: str, token: str, as_json: bool) -> None:
    """Test a registrar's token, and what a change of nameservers would meet; changes nothing."""
    async with connection.client() as pdm:
        found = await pdm.validate(registrar, domain, token)
    rows: list[tuple[str, object]] = [
        ("domain", found.domain), ("registrar", found.registrar), ("nameservers", ", ".join(found.nameservers)),
        ("may set them", {True: "yes", False: "no", None: "no way to find out"}[found.can_set_nameservers]),
        *(("warning", one) for one in found.warnings),
        *((one.code, f"({one.severity}) {one.seen}. {one.remedy}") for one in found.problems or []),
    ]  # fmt: skip
    _print(found, rows, as_json=as_json)
