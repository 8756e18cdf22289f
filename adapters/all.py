"""All registrars, by the name that paths and settings have for them: ours, the one table to add a line to, and others'.

Another package brings an adapter by an entry point of the group `pool_domain_manager.registrars`: its name is the
registrar's, its object an `adapters.entry.Entry`. docs/write-a-registrar-adapter.md shows how.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from ipaddress import IPv4Address

from adapters import cloudflare, dynadot, godaddy, namecheap, ovh
from adapters.base import About, Follows, ReadsDs, Registrar, SetsDs
from adapters.cloudflare import Cloudflare
from adapters.dynadot import Dynadot
from adapters.entry import Entry, Option, Options, defaults
from adapters.godaddy import GoDaddy
from adapters.http import Http
from adapters.namecheap import Namecheap
from adapters.ovh import Ovh

# --- ours -------------------------------------------------------------------------------------------


def _endpoint(text: str) -> str:
    if text.lower() not in ovh.ENDPOINTS:
        raise ValueError(f"is one of {', '.join(sorted(ovh.ENDPOINTS))}")
    return text.lower()


def _maybe_ipv4(text: str) -> str | None:
    try:
        return str(IPv4Address(text)) if text else None
    except ValueError:
        raise ValueError("takes an IPv4 address") from None


OURS: Mapping[str, Entry] = {
    "cloudflare": Entry(make=lambda http, url, _: Cloudflare(http, url or cloudflare.BASE_URL)),
    "dynadot": Entry(make=lambda http, url, _: Dynadot(http, url or dynadot.BASE_URL)),
    "godaddy": Entry(make=lambda http, url, _: GoDaddy(http, url or godaddy.BASE_URL)),
    "namecheap": Entry(
        make=lambda http, url, options: Namecheap(http, url or namecheap.BASE_URL, options["CLIENT_IP"]),
        options={"CLIENT_IP": Option(default="", parse=_maybe_ipv4)},
        ipv4_only=True,
    ),
    "ovh": Entry(
        make=lambda http, url, options: Ovh(http, url or ovh.ENDPOINTS[options["ENDPOINT"] or ""]),
        options={"ENDPOINT": Option(default="ovh-eu", parse=_endpoint)},
    ),
}

# --- others' ----------------------------------------------------------------------------------------

GROUP = "pool_domain_manager.registrars"
_NAME, _OPTION = re.compile(r"[a-z][a-z0-9]{0,31}"), re.compile(r"(?!URL$)[A-Z][A-Z0-9_]{0,31}(?<!_FILE)")
_CALLS: Mapping[str, tuple[object, ...]] = {
    "validate": ("credential", "example.com"),
    "get_nameservers": ("credential", "example.com"),
    "set_nameservers": ("credential", "example.com", ()),
}


class UnusableAdapterError(Exception):
    """Adapters of other packages that cannot be used; a line each, which names the package and what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """What an adapter was installed with."""

    name: str
    version: str

    def __str__(self) -> str:
        """Return both."""
        return f"{self.name} {self.version}"


@cache
def others() -> Mapping[str, tuple[Entry, Package]]:
    """Return the adapters of other packages, by name; raises UnusableAdapterError with all that is wrong."""
    found: dict[str, tuple[Entry, Package]] = {}
    faults = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, _package(point).name)):
        package = _package(point)
        try:
            found[point.name] = _usable(point, found), package
        except ValueError as fault:
            faults.append(f"the adapter {point.name} of {package} cannot be used: {fault}; fix or uninstall it")
    if faults:
        raise UnusableAdapterError("\n".join(faults))
    return found


def entries() -> Mapping[str, Entry]:
    """Return how each adapter is made, ours and others', by name; raises UnusableAdapterError."""
    return dict(sorted({**OURS, **{name: entry for name, (entry, _) in others().items()}}.items()))


def _package(point: EntryPoint) -> Package:
    return Package(name=point.dist.name, version=point.dist.version) if point.dist else Package(name="?", version="?")


def _usable(point: EntryPoint, found: Mapping[str, tuple[Entry, Package]]) -> Entry:
    """Return what an entry point names; raises ValueError with what is wrong."""
    if not _NAME.fullmatch(point.name):
        raise ValueError("its name is not one of lower-case letters and digits")
    if point.name in OURS:
        raise ValueError("there is one of that name already, the service's own")
    if point.name in found:
        raise ValueError(f"{found[point.name][1]} has one of that name, too")
    try:
        entry = point.load()
    except Exception as error:  # whatever it is, it is what was found
        raise ValueError(f"{point.value} cannot be loaded: {_one_line(error)}") from error
    if not isinstance(entry, Entry):
        raise ValueError(f"{point.value} is not an adapters.entry.Entry")  # noqa: TRY004 - of the package, not of ours
    if wrong := [option for option in entry.options if not _OPTION.fullmatch(option)]:
        raise ValueError(f"{wrong[0]} cannot be the end of a setting's name")
    try:
        adapter = entry.make(Http(point.name), None, defaults(entry))
    except Exception as error:
        raise ValueError(f"it cannot be made: {_one_line(error)}") from error
    _hold_against_the_contract(point.name, adapter)
    return entry


def _hold_against_the_contract(name: str, adapter: Registrar) -> None:
    """Raise ValueError where an adapter lacks the form of `adapters.base`; what it does, the suite shows."""
    about = getattr(adapter, "about", None)
    if not isinstance(about, About):
        raise ValueError("it has no `about` that is an adapters.base.About")  # noqa: TRY004 - as above
    if about.name != name:
        raise ValueError(f"its `about` names it {about.name}")
    for call, arguments in _CALLS.items():
        method = getattr(adapter, call, None)
        if not inspect.iscoroutinefunction(method):
            raise ValueError(f"it has no coroutine function {call}")
        try:
            inspect.signature(method).bind(*arguments, within=1.0)
        except TypeError:
            raise ValueError(f"its {call} does not take what adapters.base says") from None
    for told, can, what in (
        (about.reads_ds, isinstance(adapter, ReadsDs), "reads DS"),
        (about.sets_ds, isinstance(adapter, SetsDs), "sets DS"),
        (about.asynchronous or isinstance(adapter, Follows), about.asynchronous, "may go on with a change later"),
    ):
        if told != can:
            raise ValueError(f"its `about` and its methods do not agree on whether it {what}")


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


# --- all --------------------------------------------------------------------------------------------


def registrars(
    http: Callable[[str], Http], urls: Mapping[str, str], options: Mapping[str, Options]
) -> dict[str, Registrar]:  # fmt: skip
    """Return the adapters, each with the way out that `http` makes for its name; raises UnusableAdapterError.

    `urls` has addresses of those that are not asked at their own, `options` the values of options that somebody set.
    """
    return {
        name: entry.make(http(name), urls.get(name), {**defaults(entry), **options.get(name, {})})
        for name, entry in entries().items()
    }
