"""Addresses: which ones a load balancer may have, which ones anybody may reach. The only place with rules for it."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pdm_service.errors import InvalidAddress, MissingAddress

MAX_ADDRESSES = 16

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052

_REFUSED: tuple[tuple[IPv4Network | IPv6Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "stands for this network (RFC 1122)"),
        ("127.0.0.0/8", "is a loopback address"),
        ("168.63.129.16/32", "is a service of Azure's hosts"),
        ("169.254.0.0/16", "is a link-local address"),
        ("224.0.0.0/4", "is a multicast address"),
        ("240.0.0.0/4", "is reserved (RFC 1112)"),
        ("::/128", "is the unspecified address"),
        ("::1/128", "is a loopback address"),
        ("::ffff:0:0/96", "is an IPv4-mapped address; send the IPv4 address"),
        ("fd00:ec2::/112", "is a service of Amazon's hosts"),
        ("fd20:ce::254/128", "is a service of Google's hosts"),
        ("fe80::/10", "is a link-local address"),
        ("fec0::/10", "is a site-local address (RFC 3879)"),
        ("ff00::/8", "is a multicast address"),
    )
)
_PRIVATE = tuple(IPv4Network(one) for one in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"))
# What Python takes for global, and nobody can reach from outside.
_NOT_PUBLIC = tuple(IPv6Network(one) for one in ("64:ff9b::/96", "64:ff9b:1::/48", "fec0::/10", "::/96"))


def addresses(values: list[str]) -> tuple[str, ...]:
    """Return load balancer addresses in canonical form, without repeats, in the order given.

    Raises InvalidAddress for what is no unicast address that others can reach, and
    MissingAddress for an empty list.
    """
    found = tuple(dict.fromkeys(_address(value) for value in values))
    if not found:
        msg = "a commit needs loadBalancerIP or loadBalancerIPs"
        raise MissingAddress(msg)
    if len(found) > MAX_ADDRESSES:
        msg = f"a name takes {MAX_ADDRESSES} addresses at most"
        raise InvalidAddress(msg)
    return found


def is_public(address: str) -> bool:
    """Return whether an address is one that anybody may reach, also when it holds an IPv4 address in it."""
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        within = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if within or any(found in network for network in _NOT_PUBLIC):
            return False
    return found.is_global and not found.is_multicast


def _address(value: str) -> str:
    try:
        found = ip_address(value.strip())
    except ValueError:
        raise InvalidAddress("an address must be a plain IPv4 or IPv6 address, without port, zone or prefix") from None
    if why := _refusal(found):
        raise InvalidAddress(f"the address {found} {why}; send one that the name's users can reach")
    return str(found)


def _refusal(address: Address) -> str | None:
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "has a zone, which means something on one machine only"
    for network, reason in _REFUSED:
        if address in network:
            return reason
    if isinstance(address, IPv6Address):
        inner = address.sixtofour or (IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None)
        if inner is not None and (any(inner in network for network in _PRIVATE) or _refusal(inner)):
            return f"leads to {inner}, which nobody can reach"
    return "is reserved (IANA)" if address.is_reserved else None
