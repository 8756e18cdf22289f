"""All registrars, by the name that paths and settings have for them: the one table to add a line to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from adapters import cloudflare, dynadot, godaddy, namecheap, ovh
from adapters.base import Registrar
from adapters.cloudflare import Cloudflare
from adapters.dynadot import Dynadot
from adapters.godaddy import GoDaddy
from adapters.http import Http
from adapters.namecheap import Namecheap
from adapters.ovh import Ovh

Options = Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Option:
    """A setting that only this registrar has."""

    default: str
    parse: Callable[[str], str | None]
    """Returns the value; raises ValueError with what it takes."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How the adapter of one registrar is made."""

    make: Callable[[Http, str | None, Options], Registrar]
    """Of the way out, the address if it is not asked at its own, and the values of its options."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """By the end of the setting's name."""
    ipv4_only: bool = False
    """Whether it knows its callers by a list of IPv4 addresses."""


def _endpoint(text: str) -> str:
    if text.lower() not in ovh.ENDPOINTS:
        raise ValueError(f"is one of {', '.join(sorted(ovh.ENDPOINTS))}")
    return text.lower()


def _maybe_ipv4(text: str) -> str | None:
    try:
        return str(IPv4Address(text)) if text else None
    except ValueError:
        raise ValueError("takes an IPv4 address") from None


ALL: Mapping[str, Entry] = {
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
NAMES = tuple(ALL)


def registrars(
    http: Callable[[str], Http], urls: Mapping[str, str], options: Mapping[str, Options]
) -> dict[str, Registrar]:  # fmt: skip
    """Return the adapters, each with the way out that `http` makes for its name.

    `urls` has addresses of those that are not asked at their own, `options` the values of those that have some.
    """
    return {name: entry.make(http(name), urls.get(name), options.get(name, {})) for name, entry in ALL.items()}


def defaults() -> dict[str, Options]:
    """Return the options of all registrars that have some, unless somebody sets them."""
    return {
        name: {option: one.parse(one.default) for option, one in entry.options.items()}
        for name, entry in ALL.items()
        if entry.options
    }
