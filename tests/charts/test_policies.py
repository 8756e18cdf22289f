"""The charts' NetworkPolicies, evaluated: who reaches whom, as docs/operations.md has it."""

import re
from typing import Any

import pytest

from tests.charts.policies import End, Policy, reaches
from tests.charts.rendered import ROOT, needs_helm, pods, render
from tests.charts.test_both import CI

pytestmark = needs_helm
PDM = "app.kubernetes.io/name"


def pod(name: str, namespace: str = "pdm", ports: dict[str, int] | None = None, **labels: str) -> End:
    return End(
        name,
        "10.0.0.9",
        namespace,
        {key.replace("__", "/").replace("_", "-"): v for key, v in labels.items()},
        ports or {},
    )


def of_chart(objects: list[dict[str, Any]], name: str, component: str) -> End:
    """A pod as the chart makes it."""
    metadata, spec = next(
        (meta, spec) for meta, spec in pods(objects) if meta["labels"].get("app.kubernetes.io/component") == component
    )
    ports = {port["name"]: port["containerPort"] for port in spec["containers"][0].get("ports", [])}
    return End(name, "10.0.0.9", "pdm", metadata["labels"], ports)


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    service = render("pool-domain-manager", ROOT / "charts/pool-domain-manager/ci/defaults-values.yaml")
    return service + render("powerdns", ROOT / "charts/powerdns/ci/defaults-values.yaml")


@pytest.fixture(scope="module")
def policies(objects: list[dict[str, Any]]) -> list[Policy]:
    return [each for each in objects if each["kind"] == "NetworkPolicy"]


@pytest.fixture(scope="module")
def ends(objects: list[dict[str, Any]]) -> dict[str, End]:
    """By name: pods of both charts, of others, and addresses."""
    clusters = [each["metadata"]["name"] for each in objects if each["kind"] == "Cluster"]
    ours, dns = sorted(clusters)
    found = [
        of_chart(objects, "service", "server"),
        of_chart(objects, "powerdns", "powerdns"),
        of_chart(objects, "dnsdist", "dnsdist"),
        End("service's PostgreSQL", "10.0.0.9", "pdm", {"cnpg.io/cluster": ours}),
        End("PowerDNS's PostgreSQL", "10.0.0.9", "pdm", {"cnpg.io/cluster": dns}),
        End("catalyst-api", "10.0.0.9", "pdm", {PDM: "catalyst-api"}),
        End("another pod, same namespace", "10.0.0.9", "pdm", {PDM: "something"}),
        End("another namespace's pod", "10.0.0.9", "tenant", {PDM: "something"}),
        End("one that calls itself the service", "10.0.0.9", "tenant",
            {PDM: "pool-domain-manager", "app.kubernetes.io/instance": "pdm", "app.kubernetes.io/component": "server"}),
        End("Prometheus", "10.0.0.9", "monitoring", {PDM: "prometheus"}),
        End("operator of PostgreSQL", "10.0.0.9", "cnpg-system", {PDM: "cloudnative-pg"}),
        End("cluster's resolver", "10.0.0.9", "kube-system", {"k8s-app": "kube-dns"}),
        End("a nameserver", "198.51.100.53"),
        End("a nameserver, IPv6", "2001:db8::53"),
        End("private address", "10.1.2.3"),
        End("cloud's metadata", "169.254.169.254"),
        End("private address, IPv6", "fd00:ec2::254"),
        End("link-local address", "fe80::1"),
        End("somebody", "203.0.113.9"),
    ]  # fmt: skip
    return {end.name: end for end in found}


TARGETS = {
    "service": [("8080", 8080, "TCP")],
    "powerdns": [("API 8081", 8081, "TCP"), ("DNS", 5353, "UDP")],
    "dnsdist": [("DNS", 5353, "UDP"), ("metrics", 8083, "TCP")],
    "service's PostgreSQL": [("5432", 5432, "TCP"), ("8000", 8000, "TCP")],
    "PowerDNS's PostgreSQL": [("5432", 5432, "TCP"), ("8000", 8000, "TCP")],
}
OUT = {"DNS 53": (53, "UDP"), "HTTPS 443": (443, "TCP"), "anything else": (25, "TCP")}
IN = (
    "service", "powerdns", "dnsdist", "catalyst-api", "another pod, same namespace", "another namespace's pod",
    "one that calls itself the service", "Prometheus", "operator of PostgreSQL", "somebody",
)  # fmt: skip
BEYOND = (
    "cluster's resolver", "a nameserver", "a nameserver, IPv6", "private address", "private address, IPv6",
    "cloud's metadata", "link-local address",
)  # fmt: skip


def table(policies: list[Policy], ends: dict[str, End]) -> str:
    """The tables of the document: who gets in, and whom the service gets out to."""

    def port_of(target: str, named: int) -> int:
        known = ends[target].ports
        return {5353: known.get("dns-udp", named), 8083: known.get("metrics", named)}.get(named, named)

    columns = [(target, *port) for target, ports in TARGETS.items() for port in ports]
    rows = ["| from \\ to | " + " | ".join(f"{target} {name}" for target, name, *_ in columns) + " |"]
    rows.append("| --- " * (len(columns) + 1) + "|")
    for one in IN:
        marks = [
            "–" if one == target else "yes" if reaches(policies, ends[one], ends[target], port_of(target, port), protocol)
            else "no"
            for target, _, port, protocol in columns
        ]  # fmt: skip
        rows.append(f"| {one} | " + " | ".join(marks) + " |")
    out = ["| the service to | " + " | ".join(OUT) + " |", "| --- " * (len(OUT) + 1) + "|"]
    for other in BEYOND:
        marks = ["yes" if reaches(policies, ends["service"], ends[other], *port) else "no" for port in OUT.values()]
        out.append(f"| {other} | " + " | ".join(marks) + " |")
    return "\n".join([*rows, "", *out])


def test_the_document_has_the_table(policies: list[Policy], ends: dict[str, End]) -> None:
    """Who reaches whom stands in docs/operations.md as the rendered policies have it."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    told = re.search(r"<!-- policies -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert told is not None
    assert told[1] == table(policies, ends)


@pytest.mark.parametrize(
    ("one", "other", "port", "protocol", "allowed"),
    [
        ("catalyst-api", "service", 8080, "TCP", True),
        ("another pod, same namespace", "service", 8080, "TCP", False),
        ("another namespace's pod", "service", 8080, "TCP", False),
        ("service", "powerdns", 8081, "TCP", True),
        ("one that calls itself the service", "powerdns", 8081, "TCP", False),
        ("catalyst-api", "powerdns", 8081, "TCP", False),
        ("dnsdist", "powerdns", 8081, "TCP", False),
        ("service", "service's PostgreSQL", 5432, "TCP", True),
        ("service", "PowerDNS's PostgreSQL", 5432, "TCP", False),
        ("powerdns", "PowerDNS's PostgreSQL", 5432, "TCP", True),
        ("powerdns", "service's PostgreSQL", 5432, "TCP", False),
        ("another pod, same namespace", "service's PostgreSQL", 5432, "TCP", False),
        ("operator of PostgreSQL", "service's PostgreSQL", 8000, "TCP", True),
        ("service's PostgreSQL", "service's PostgreSQL", 5432, "TCP", True),
        ("service", "a nameserver", 53, "UDP", True),
        ("service", "a nameserver, IPv6", 443, "TCP", True),
        ("service", "private address", 443, "TCP", False),
        ("service", "cloud's metadata", 53, "TCP", False),
        ("service", "private address, IPv6", 53, "UDP", False),
        ("service", "cluster's resolver", 53, "UDP", True),
        ("service", "somebody", 25, "TCP", False),
    ],
)
def test_who_reaches_whom(
    policies: list[Policy], ends: dict[str, End], one: str, other: str, port: int, protocol: str, allowed: bool
) -> None:
    """What was meant, told by hand."""
    assert reaches(policies, ends[one], ends[other], port, protocol) is allowed


def test_exceptions(ends: dict[str, End]) -> None:
    """A private nameserver or proxy that is named may be asked; without the internet nobody beyond the cluster."""
    own = [{"ipBlock": {"cidr": "10.1.2.3/32"}}]
    for settings, other, allowed in (
        ({"networkPolicy__internetAlso": own}, "private address", True),
        ({"networkPolicy__internetAlso": own}, "cloud's metadata", False),
        ({"networkPolicy__internet": False}, "a nameserver", False),
        ({"networkPolicy__internet": False}, "cluster's resolver", True),
    ):
        values = ROOT / "charts/pool-domain-manager/ci/defaults-values.yaml"
        made = [one for one in render("pool-domain-manager", values, **settings) if one["kind"] == "NetworkPolicy"]
        assert reaches(made, ends["service"], ends[other], 53, "UDP") is allowed, settings


def test_the_api_server_is_reached_where_tokens_are_reviewed(ends: dict[str, End]) -> None:
    """The service asks the API server for reviews alone; PostgreSQL's pods always do."""
    server = End("API server", "10.0.0.1")
    for review in (False, True):
        values = ROOT / "charts/pool-domain-manager/ci/defaults-values.yaml"
        made = render("pool-domain-manager", values, auth__tokenReview=review)
        found = [one for one in made if one["kind"] == "NetworkPolicy"]
        assert reaches(found, ends["service"], server, 6443) is review
        assert reaches(found, ends["service's PostgreSQL"], server, 6443)


@pytest.mark.parametrize("values", CI, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_no_whole_namespace_by_default(values: Any) -> None:
    """No rule of ingress, whatever the values of an example, opens all of a namespace's pods by an empty selector."""
    for policy in (one for one in render(values.parents[1].name, values) if one["kind"] == "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert {} not in rule.get("from", []), policy["metadata"]["name"]
            assert all(peer.get("podSelector") != {} for peer in rule.get("from", []))
