"""All registrars, by the name that paths and settings have for them."""

from collections.abc import Callable, Mapping

from adapters import cloudflare, dynadot, godaddy, namecheap, ovh
from adapters.base import Registrar
from adapters.cloudflare import Cloudflare
from adapters.dynadot import Dynadot
from adapters.godaddy import GoDaddy
from adapters.http import Http
from adapters.namecheap import Namecheap
from adapters.ovh import Ovh

NAMES = ("cloudflare", "dynadot", "godaddy", "namecheap", "ovh")
OVH_ENDPOINTS = tuple(ovh.ENDPOINTS)


def registrars(
    http: Callable[[str], Http], urls: Mapping[str, str], ovh_endpoint: str, namecheap_client_ip: str | None
) -> dict[str, Registrar]:
    """Return the adapters, each with the way out that `http` makes for its name.

    `urls` has addresses of those that are not asked at their own.
    """
    return {
        "cloudflare": Cloudflare(http("cloudflare"), urls.get("cloudflare", cloudflare.BASE_URL)),
        "dynadot": Dynadot(http("dynadot"), urls.get("dynadot", dynadot.BASE_URL)),
        "godaddy": GoDaddy(http("godaddy"), urls.get("godaddy", godaddy.BASE_URL)),
        "namecheap": Namecheap(http("namecheap"), urls.get("namecheap", namecheap.BASE_URL), namecheap_client_ip),
        "ovh": Ovh(http("ovh"), urls.get("ovh", ovh.ENDPOINTS[ovh_endpoint])),
    }
