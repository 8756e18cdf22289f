"""`pdm registrars`: which registrars there are, what each can do, and which package its adapter is of."""

import sys

import click
import msgspec
from tabulate import tabulate

from adapters.all import OURS, Package, UnusableAdapterError, entries, others
from adapters.base import Follows
from adapters.entry import defaults
from adapters.http import Http
from pdm_service import __version__
from pdm_service.commands.connection import say

_OURS = Package(name="pool-domain-manager", version=__version__)


class Listed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One registrar."""

    name: str
    title: str
    package: str
    version: str
    ours: bool
    sets_nameservers: bool
    tells_permission: bool
    asynchronous: bool
    tells_progress: bool
    reads_ds: bool
    sets_ds: bool
    settings: list[str]
    """The names of those that only this registrar has."""


def listed() -> list[Listed]:
    """Return all registrars, by name; raises UnusableAdapterError."""
    found = []
    for name, entry in entries().items():
        package = _OURS if name in OURS else others()[name][1]
        adapter = entry.make(Http(name), None, defaults(entry))
        about = adapter.about
        one = Listed(
            name=name,
            title=about.title,
            package=package.name,
            version=package.version,
            ours=name in OURS,
            sets_nameservers=about.sets_nameservers,
            tells_permission=about.tells_permission,
            asynchronous=about.asynchronous,
            tells_progress=isinstance(adapter, Follows),
            reads_ds=about.reads_ds,
            sets_ds=about.sets_ds,
            settings=[f"PDM_REGISTRAR_{name.upper()}_{end}" for end in ("URL", *entry.options)],
        )
        found.append(one)
    return found


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def registrars(*, as_json: bool) -> None:
    """List the registrars that this installation knows, and the package that each one's adapter comes from.

    Exit code 2 if an installed package brings an adapter that cannot be used. `pdm serve` does not start then.
    """
    try:
        found = listed()
    except UnusableAdapterError as error:
        say(str(error), err=True)
        sys.exit(2)
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    rows = [
        (one.name, one.title, *_abilities(one), f"{one.package} {one.version}" if not one.ours else "the service's own")
        for one in found
    ]
    headers = ("name", "title", "nameservers", "progress", "DS", "package")
    say(tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True))


def _abilities(one: Listed) -> tuple[str, str, str]:
    nameservers = ("sets later" if one.asynchronous else "sets") if one.sets_nameservers else "reads"
    ds = "sets" if one.sets_ds else "reads" if one.reads_ds else "no"
    return nameservers, "tells" if one.tells_progress else "no", ds
