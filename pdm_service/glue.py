"""Addresses of nameservers at a registrar: who gets which, and when they are sent."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic

from adapters.base import Change, Registrar, SetsGlue, Unavailable, UnknownHost
from pdm_service import errors, names
from pdm_service.model.records import Nameserver

_DNS_PORT = 53
Glue = Mapping[str, tuple[str, ...]]
"""The addresses of nameservers, by host."""


def inside(domain: str, nameservers: Iterable[str], addresses: Sequence[str]) -> Glue:
    """Return the addresses of nameservers inside a domain as a caller gave them: one for all, or one each, in order.

    Raises InvalidFormat for another number, InvalidAddress for what is none.
    """
    hosts = [host for one in nameservers if names.covers(domain, host := one.strip().lower().removesuffix("."))]
    if not addresses:
        return {}
    found = [names.addresses([address])[0] for address in addresses]
    if not hosts:
        raise errors.InvalidFormat(f"glueIP is for nameservers inside {domain}, and there is none among them")
    if len(found) == 1:
        return dict.fromkeys(hosts, (found[0],))
    if len(found) != len(hosts):
        raise errors.InvalidFormat(f"glueIP takes one address, or one for each of {', '.join(hosts)}")
    return {host: (address,) for host, address in zip(hosts, found, strict=True)}


def platform(nameservers: Iterable[Nameserver], *, allow_private: bool) -> Glue:
    """Return the platform's nameservers that a registry may be told of, with their configured addresses."""
    found: dict[str, tuple[str, ...]] = {}
    for one in nameservers:
        if one.name and one.port == _DNS_PORT and (allow_private or names.is_public(one.address)):
            found[one.name] = (*found.get(one.name, ()), one.address)
    return found


async def register(registrar: Registrar, credential: str, domain: str, glue: Glue, until: float) -> None:
    """Have the registrar know nameservers with these addresses; raises RegistrarError, UnsupportedOperation."""
    if not glue:
        return
    if not isinstance(registrar, SetsGlue):
        wanted = "; ".join(f"{host} with {', '.join(addresses)}" for host, addresses in glue.items())
        raise errors.UnsupportedOperation(
            f"the service cannot register nameservers at {registrar.about.title}: register {wanted} on its site, then"
            " send the request without glueIP"
        )
    for host, addresses in glue.items():
        if await registrar.set_glue(credential, domain, host, addresses, within=until - monotonic()) is not None:
            raise Unavailable(f"{registrar.about.title} is registering {host}; try again in a minute", sent=False)


def of(nameservers: Iterable[str], glue: Glue) -> Glue:
    """Return the part of it that is about these nameservers."""
    return {host: glue[host] for host in nameservers if host in glue}


async def with_known_hosts(
    registrar: Registrar, credential: str, domain: str, glue: Glue, until: float, send: Callable[[], Awaitable[Change]]
) -> Change:
    """Send a change of nameservers; where the registrar does not know their hosts, register them, and send it again.

    Raises RegistrarError.
    """
    try:
        return await send()
    except UnknownHost:
        if not glue or not isinstance(registrar, SetsGlue):
            raise
    await register(registrar, credential, domain, glue, until)
    return await send()
