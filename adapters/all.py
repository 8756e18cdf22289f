"""All registrars, by the name that paths and settings have for them."""

from collections.abc import Callable, Mapping

from adapters.base import Registrar
from adapters.cloudflare import Cloudflare
from adapters.dynadot import Dynadot
from adapters.godaddy import GoDaddy
from adapters.http import Http
from adapters.namecheap import Namecheap
from adapters.ovh import ENDPOINTS, Ovh

NAMES = ("cloudflare", "dynadot", "godaddy", "namecheap", "ovh")
OVH_ENDPOINTS = tuple(ENDPOINTS)


def registrars(
    http: Callable[[str], Http], urls: Mapping[str, str], ovh_endpoint: str, namecheap_client_ip: str | None
) -> dict[str, Registrar]:
    """Return the adapters, each with the way out that `http` makes for its name.

    `urls` has addresses of those that are not asked at their own.
    """
    return {
        "cloudflare": Cloudflare(http("cloudflare"), *_url(urls, "cloudflare")),
        "dynadot": Dynadot(http("dynadot"), *_url(urls, "dynadot")),
        "godaddy": GoDaddy(http("godaddy"), *_url(urls, "godaddy")),
        "namecheap": Namecheap(http("namecheap"), *_url(urls, "namecheap"), client_ip=namecheap_client_ip),
        "ovh": Ovh(http("ovh"), urls.get("ovh", ENDPOINTS[ovh_endpoint])),
    }


def _url(urls: Mapping[str, str], name: str) -> list[str]:
    return [urls[name]] if name in urls else []
