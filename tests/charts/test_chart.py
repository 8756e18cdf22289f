"""The chart of pool-domain-manager, rendered by the real Helm."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.all import OURS
from tests.charts.rendered import HELMS, ROOT, helm, needs_helm, one, problems, render
from tests.observability.test_files import ALERTS

CHART = ROOT / "charts" / "pool-domain-manager"
DEFAULTS = CHART / "ci" / "defaults-values.yaml"
EVERYTHING = CHART / "ci" / "everything-values.yaml"
pytestmark = needs_helm
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool; make setup installs it"
)


def rendered(path: Path = DEFAULTS, **settings: Any) -> list[dict[str, Any]]:
    return render("pool-domain-manager", path, **settings)


def test_a_misspelt_field_is_found() -> None:
    """The schemas refuse fields that do not exist, for core kinds and custom ones."""
    objects = rendered()
    container = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    container["readinesProbe"] = {}
    assert len(problems(objects)) == 1
    del container["readinesProbe"]
    one(objects, "Cluster")["spec"]["instancess"] = 3
    assert len(problems(objects)) == 1


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["poolDomains=[]"], "poolDomains"),
        (['poolDomains=["Omani.Works"]'], "poolDomains"),
        (["nameservers=[]"], "nameservers"),
        (['powerdns.url=""'], "powerdns"),
        (['powerdns.url="http://user:secret@host"'], "powerdns"),
        (['powerdns.existingSecret=""'], "existingSecret"),
        (['powerdns.existngSecret="x"'], "existngSecret"),
        (['auth.existingSecret=""'], "auth"),
        (['replicas="two"'], "replicas"),
        (["replicas=0"], "replicas"),
        (["database.cnpg.create=false"], "database"),
        (['database.sslmode="prefer"'], "sslmode"),
        (['timing.reservation="half an hour"'], "reservation"),
        (['namePolicy.confusables="perhaps"'], "confusables"),
        (['poolRegistrar.name="dynadot"'], "poolRegistrar"),
        (['poolRegistrar={"name": "gandi.net", "existingSecret": "token"}'], "poolRegistrar"),
        (["metrics.serviceMonitor.enabled=true"], "serviceMonitor"),
        (['image.digest="sha256:abc"'], "digest"),
        (['tls.clientCaSecret.name="clients"'], "tls"),
        (["auth.anonymousCompatibility=true"], "compatibilityFrom"),
        (["unknown=true"], "unknown"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_wrong_values_are_refused(version: str, settings: list[str], told: str) -> None:
    """A wrong value does not render, and the message names it."""
    arguments = [argument for each in settings for argument in ("--set-json", each)]
    done = helm(version, "template", "pdm", CHART, "--values", DEFAULTS, *arguments)
    assert done.returncode != 0
    assert told in done.stderr


def test_environment_is_of_settings_that_exist() -> None:
    """The program, or its driver of PostgreSQL, knows each variable that the chart sets."""
    known = set(
        re.findall(r'"((?:PDM_[A-Z_]+)|PORT)"', (ROOT / "pdm_service" / "settings" / "settings.py").read_text())
    )
    known |= {
        f"PDM_REGISTRAR_{name.upper()}_{option}" for name, entry in OURS.items() for option in ("URL", *entry.options)
    }
    driver = {"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSSLROOTCERT"}
    known |= {f"{name}_FILE" for name in known}
    (container,) = one(rendered(EVERYTHING), "Deployment")["spec"]["template"]["spec"]["containers"]
    found = {entry["name"] for entry in container["env"]}
    assert found - known - driver == {"HTTPS_PROXY"}


def test_cluster_is_kept_and_wired() -> None:
    """The Cluster outlives the release; the service takes what the operator writes, and checks its certificate."""
    objects = rendered()
    cluster = one(objects, "Cluster")
    assert cluster["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert cluster["spec"]["instances"] == 3
    name = cluster["metadata"]["name"]
    spec = one(objects, "Deployment")["spec"]["template"]["spec"]
    environment = {entry["name"]: entry for entry in spec["containers"][0]["env"]}
    for variable, key in (
        ("PGHOST", "host"), ("PGPORT", "port"), ("PGDATABASE", "dbname"), ("PGUSER", "username"),
    ):  # fmt: skip
        assert environment[variable]["valueFrom"] == {"secretKeyRef": {"name": f"{name}-app", "key": key}}
    assert environment["PDM_DATABASE_URL"]["value"] == "postgresql:///?sslmode=verify-full"
    assert [volume["secret"]["secretName"] for volume in spec["volumes"] if volume["name"] == "database-ca"] == [
        f"{name}-ca"
    ]
    policy = one(objects, "NetworkPolicy", "pdm-pool-domain-manager")
    assert {"podSelector": {"matchLabels": {"cnpg.io/cluster": name}}} in [
        peer for rule in policy["spec"]["egress"] for peer in rule.get("to", ())
    ]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, {"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True}),
        ({"instances": 2, "synchronous__dataDurability": "preferred"},
         {"method": "any", "number": 1, "dataDurability": "preferred", "failoverQuorum": True}),
        ({"synchronous__maxStandbyNamesFromCluster": 2},
         {"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True,
          "maxStandbyNamesFromCluster": 2}),
        ({"instances": 1}, None),
        ({"synchronous__enabled": False}, None),
    ],
)  # fmt: skip
def test_commits_wait_for_a_standby(values: dict[str, Any], wanted: dict[str, Any] | None) -> None:
    """Where there is a standby, commits wait for one, unless chosen otherwise; a switchover does not take an hour."""
    spec = one(rendered(**{f"database__cnpg__{key}": value for key, value in values.items()}), "Cluster")["spec"]
    assert spec["postgresql"].get("synchronous") == wanted
    assert spec["postgresql"]["parameters"] == {"max_connections": "200"}
    assert spec["switchoverDelay"] < 60


def test_connections_suffice() -> None:
    """All replicas, and the one more of an update, fit into the Cluster's connections."""
    for path in (DEFAULTS, EVERYTHING):
        objects, values = rendered(path), yaml.safe_load((CHART / "values.yaml").read_text())
        replicas = values["autoscaling"]["maxReplicas"] + 1
        connections = yaml.safe_load(path.read_text()).get("database", {}).get("connections", 12) + 10
        limit = int(one(objects, "Cluster")["spec"]["postgresql"]["parameters"]["max_connections"])
        assert replicas * connections <= limit - 20


def test_tls() -> None:
    """With a Secret for TLS whatever asks the service does so by https; without one nothing does."""

    def schemes(objects: list[dict[str, Any]]) -> set[str]:
        (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
        found = {container[probe]["httpGet"]["scheme"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        found |= {endpoint["scheme"] for endpoint in one(objects, "ServiceMonitor")["spec"]["endpoints"]}
        found |= {port["appProtocol"] for port in one(objects, "Service")["spec"]["ports"]}
        found |= set(re.findall(r"(https?)://pdm-pool-domain-manager[.:]", json.dumps(objects)))
        return {scheme.lower() for scheme in found}

    assert schemes(rendered(EVERYTHING)) == {"https"}
    assert schemes(rendered(EVERYTHING, tls__existingSecret="", tls__clientCaSecret__name="")) == {"http"}
    spec = one(rendered(EVERYTHING), "Deployment")["spec"]["template"]["spec"]
    environment = {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}
    mounts = {each["name"]: each["mountPath"] for each in spec["containers"][0]["volumeMounts"]}
    files = {
        f"{mounts[volume['name']]}/{item['path']}": (volume["secret"]["secretName"], item["key"])
        for volume in spec["volumes"] if "secret" in volume for item in volume["secret"]["items"]
    }  # fmt: skip
    assert files[environment["PDM_TLS_CERT_FILE"]] == ("pdm-tls", "tls.crt")
    assert files[environment["PDM_TLS_KEY_FILE"]] == ("pdm-tls", "tls.key")
    assert files[environment["PDM_TLS_CLIENT_CA_FILE"]] == ("clients", "root.crt")
    assert files[environment["PDM_PDNS_CA_FILE"]] == ("powerdns-ca", "root.crt")


def test_external_database() -> None:
    """With a database that exists there is no Cluster, and its own names of keys are used."""
    objects = rendered(CHART / "ci" / "external-database-values.yaml")
    assert "Cluster" not in {each["kind"] for each in objects}
    environment = {
        entry["name"]: entry for entry in one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert environment["PGHOST"]["valueFrom"]["secretKeyRef"] == {"name": "managed-postgres", "key": "endpoint"}
    assert environment["PGPORT"]["valueFrom"]["secretKeyRef"] == {"name": "managed-postgres", "key": "port"}
    assert environment["PDM_DNS_ROOT_HINTS"]["value"] == "none"
    assert not [
        rule
        for rule in one(objects, "NetworkPolicy", "pdm-pool-domain-manager")["spec"]["egress"]
        if {"port": 443} in rule["ports"]
    ]


def test_network_policy() -> None:
    """Callers, Prometheus and the test get in, and callers without a credential where they are named; nobody else."""

    def peers(objects: list[dict[str, Any]]) -> list[Any]:
        (rule,) = one(objects, "NetworkPolicy", "pdm-pool-domain-manager")["spec"]["ingress"]
        assert rule["ports"] == [{"port": "http"}]
        return [peer for peer in rule["from"] if "component" not in json.dumps(peer)]

    def named(namespace: str, **labels: str) -> dict[str, Any]:
        spaces = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}} if namespace else {}
        return {**spaces, "podSelector": {"matchLabels": labels}}

    catalyst = named("", **{"app.kubernetes.io/name": "catalyst-api"})
    prometheus = named("monitoring", **{"app.kubernetes.io/name": "prometheus"})
    assert peers(rendered()) == [catalyst, prometheus]
    provider = named("crossplane-system", **{"pkg.crossplane.io/provider": "provider-http"})
    assert peers(rendered(crossplane__enabled=True)) == [catalyst, prometheus, provider]
    assert len(peers(rendered(EVERYTHING))) == 4
    # Peers for callers without a credential are of no effect where there are none.
    assert len(peers(rendered(networkPolicy__compatibilityFrom=[{"podSelector": {}}]))) == 2
    assert "NetworkPolicy" not in {each["kind"] for each in rendered(networkPolicy__enabled=False)}


def test_roll_out_has_no_gap() -> None:
    """No pod goes before its successor is ready; a going pod has time for the pause, the drain, and what comes after."""
    spec = one(rendered(timing__drainSeconds=40), "Deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["PDM_DRAIN_TIMEOUT"] == "40s"
    assert pod["terminationGracePeriodSeconds"] >= container["lifecycle"]["preStop"]["sleep"]["seconds"] + 40 + 10
    # The service gives up on migrations by itself after ten minutes.
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600


def test_one_replica_has_no_budget() -> None:
    """A budget would keep the only pod on its node for ever."""
    assert "PodDisruptionBudget" in {each["kind"] for each in rendered()}
    assert "PodDisruptionBudget" not in {each["kind"] for each in rendered(replicas=1)}
    scaled = rendered(replicas=1, autoscaling__enabled=True)
    assert "PodDisruptionBudget" in {each["kind"] for each in scaled}
    assert "replicas" not in one(scaled, "Deployment")["spec"]


def test_rights() -> None:
    """The service has no rights in the cluster, but that of TokenReview where it is wanted."""
    kinds = {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
    assert not kinds & {each["kind"] for each in rendered()}
    objects = rendered(auth__tokenReview=True)
    assert one(objects, "ClusterRole")["rules"] == [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    ]
    account = one(objects, "ServiceAccount")
    assert one(objects, "ClusterRoleBinding")["subjects"] == [
        {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": "pdm"}
    ]


def test_opt_in_is_off() -> None:
    """By default nothing is made that wants another operator than CloudNativePG's."""
    assert {each["apiVersion"] for each in rendered() if "." in each["apiVersion"].partition("/")[0]} == {
        "networking.k8s.io/v1", "postgresql.cnpg.io/v1"
    }  # fmt: skip


def test_selectors_find_the_pods() -> None:
    """Service, budget, policy and monitor find the Deployment's pods, and not that of the test."""
    objects = rendered(EVERYTHING)
    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    tested = one(objects, "Pod")["metadata"]["labels"]
    for selector in (
        one(objects, "Service")["spec"]["selector"],
        one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(objects, "NetworkPolicy", "pdm-pool-domain-manager")["spec"]["podSelector"]["matchLabels"],
        one(objects, "Deployment")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert not selector.items() <= tested.items()
    monitor = one(objects, "ServiceMonitor")["spec"]
    service = one(objects, "Service")["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= service.items()
    # What the alerts look for.
    assert service[monitor["jobLabel"]] == "pool-domain-manager"


@needs_promtool
def test_rules_are_those_of_the_files(tmp_path: Path) -> None:
    """The PrometheusRule has every alert but those left out, as promtool accepts them, templates untouched."""
    group = one(rendered(EVERYTHING), "PrometheusRule")["spec"]
    rules = {rule["alert"]: rule for rule in group["groups"][0]["rules"]}
    assert set(rules) == {path.stem for path in ALERTS} - {"PDMSlowRequests"}
    for path in ALERTS:
        if path.stem in rules:
            wanted = yaml.safe_load(path.read_text())
            wanted["annotations"]["runbook_url"] = f"https://git.example/pdm/docs/runbooks/{path.stem}.md"
            assert rules[path.stem] == wanted
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(group))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_rules_do_what_they_say(tmp_path: Path) -> None:
    """The unit tests of the rules: each alert fires at its fault, after its time, alone; and there is one for each."""
    cases = Path(__file__).with_name("alerts.test.yaml").read_text()
    assert {each["name"].split()[0] for each in yaml.safe_load(cases)["tests"]} == {path.stem for path in ALERTS}
    group = one(rendered(metrics__prometheusRule__enabled=True), "PrometheusRule")["spec"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(group))
    (tmp_path / "alerts.test.yaml").write_text(cases)
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts.test.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard_is_the_file() -> None:
    """The ConfigMap has the dashboard byte for byte."""
    data = one(rendered(EVERYTHING), "ConfigMap", "pdm-pool-domain-manager-dashboard")["data"]
    assert data == {"overview.json": (CHART / "dashboards" / "overview.json").read_text()}


def test_notes_are_three_lines() -> None:
    """What is shown after an installation fits on a screen."""
    assert len((CHART / "templates" / "NOTES.txt").read_text().splitlines()) == 3


def test_version_has_its_entry() -> None:
    """The chart's version stands in its changelog."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert f"## {version}" in (CHART / "CHANGELOG.md").read_text()
