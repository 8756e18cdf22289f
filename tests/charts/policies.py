"""Who reaches whom: NetworkPolicies evaluated as Kubernetes says they are.

https://kubernetes.io/docs/concepts/services-networking/network-policies/: a pod that no policy selects for a direction
takes, or sends, everything; one that some select, what any of them lets through. A connection needs both ends.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Policy = dict[str, Any]


@dataclass(frozen=True)
class End:
    """A pod, or an address outside of the cluster."""

    name: str
    address: str
    namespace: str = ""
    """Empty: no pod."""
    labels: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    """Its ports by name."""


def reaches(policies: list[Policy], one: End, other: End, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection from one to the other is let through, at both ends."""
    sends = _lets(policies, "Egress", one, other, other, port, protocol)
    return sends and _lets(policies, "Ingress", other, one, other, port, protocol)


def _lets(
    policies: list[Policy], direction: str, guarded: End, peer: End, target: End, port: int, protocol: str
) -> bool:
    mine = [
        policy["spec"]
        for policy in policies
        if guarded.namespace == policy["metadata"].get("namespace", "pdm")
        and guarded.namespace
        and _selects(policy["spec"]["podSelector"], guarded.labels)
        and direction in policy["spec"]["policyTypes"]
    ]
    side, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return not mine or any(
        _at_port(rule.get("ports"), target, port, protocol) and _among(rule.get(peers), peer, guarded.namespace)
        for spec in mine
        for rule in spec.get(side, [])
    )


def _at_port(ports: list[dict[str, Any]] | None, target: End, port: int, protocol: str) -> bool:
    if not ports:
        return True
    for one in ports:
        first = target.ports.get(one["port"]) if isinstance(one.get("port"), str) else one.get("port", port)
        last = one.get("endPort", first)
        if one.get("protocol", "TCP") == protocol and first is not None and first <= port <= last:
            return True
    return False


def _among(peers: list[dict[str, Any]] | None, peer: End, namespace: str) -> bool:
    return not peers or any(_is(one, peer, namespace) for one in peers)


def _is(one: dict[str, Any], peer: End, namespace: str) -> bool:
    if block := one.get("ipBlock"):
        address = ip_address(peer.address)
        inside = [ip_network(text) for text in block.get("except", [])]
        return not peer.namespace and address in ip_network(block["cidr"]) and not any(address in net for net in inside)
    if not peer.namespace:
        return False
    spaces = {"kubernetes.io/metadata.name": peer.namespace}
    there = _selects(one["namespaceSelector"], spaces) if "namespaceSelector" in one else peer.namespace == namespace
    return there and _selects(one.get("podSelector", {}), peer.labels)


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for one in selector.get("matchExpressions", []):
        value, values = labels.get(one["key"]), one.get("values", [])
        held = {
            "In": value in values, "NotIn": value not in values,
            "Exists": value is not None, "DoesNotExist": value is None,
        }  # fmt: skip
        if not held[one["operator"]]:
            return False
    return True
