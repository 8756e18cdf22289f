"""`pdm keys`: make keys; only their digests are kept anywhere."""

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta

import click
import msgspec

from pdm_service import callers
from pdm_service.callers import KEY_PREFIX, Client, Quotas, Scope


@click.group()
def keys() -> None:
    """Make keys for clients, and for brands."""


@keys.command("new")
@click.option("--id", "identity", required=True, help="The client's id, which its allocations belong to.")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice([one.value for one in Scope]))
@click.option(
    "--pool", "pools", multiple=True, help=f"A pool domain that it may take names of, or {callers.BYO}; all by default."
)
@click.option("--days", type=click.IntRange(1, 3660), help="Days until the key expires; never by default.")
@click.option("--names", type=int, help="Quota: names held at a time.")
@click.option("--reservations", type=int, help="Quota: open reservations at a time.")
def new(
    identity: str,
    scopes: tuple[str, ...],
    pools: tuple[str, ...],
    days: int | None,
    names: int | None,
    reservations: int | None,
) -> None:
    """Print the line for the file of callers, and on standard error the key, which is shown once."""
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    client = Client(
        id=identity,
        sha256=_digest(key),
        scopes=frozenset(Scope(scope) for scope in scopes),
        pools=frozenset(pools) or None,
        quotas=Quotas(names=names, reservations=reservations),
        expires=datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) if days else None,
    )
    line = msgspec.json.encode(client, order="sorted").decode()
    try:
        callers.read(line)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"the key, shown once: {key}", err=True)
    click.echo(line)


@keys.command("brand")
@click.option("--word", required=True, help="The brand: a word of a-z and 0-9.")
@click.option("--client", required=True, help="The id of the client that may have it.")
def brand(word: str, client: str) -> None:
    """Print the entry for the name policy, and on standard error the allocation key, which is shown once."""
    if not re.fullmatch(r"[a-z0-9]+", word):
        raise click.ClickException("a brand is a word of a-z and 0-9")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    click.echo(f"the allocation key, shown once: {key}", err=True)
    click.echo(f'[[brand]]\nword = "{word}"\ncontains = true\nclient = "{client}"\nkey = "{_digest(key)}"')


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
