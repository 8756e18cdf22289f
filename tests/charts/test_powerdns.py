"""The chart of PowerDNS: what it renders, and its configuration run by the real servers."""

import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import pytest
import yaml

from pdm_service.dev.postgres import with_connection
from pdm_service.dev.servers import Postgres, free_port
from tests.charts.pod import PROGRAMS, Pod, needs_root
from tests.charts.rendered import HELMS, ROOT, helm, needs_helm, one, pod_spec, pods, render
from tests.dns_view import Api, ask, records, rrset
from tests.eventually import eventually
from tests.patience import patient
from tests.service import Service, name, running

pytestmark = needs_helm

CHART = ROOT / "charts" / "powerdns"
CI = sorted((CHART / "ci").glob("*-values.yaml"))
DEFAULTS = CHART / "ci" / "defaults-values.yaml"
EVERYTHING = CHART / "ci" / "everything-values.yaml"
MINIMAL = CHART / "ci" / "minimal-values.yaml"
ALERTS = sorted((CHART / "alerts").glob("*.yaml"))


def selected(objects: list[dict[str, Any]], selector: dict[str, str]) -> list[dict[str, Any]]:
    return [spec for metadata, spec in pods(objects) if selector.items() <= metadata["labels"].items()]


def port_names(spec: dict[str, Any]) -> set[tuple[str, str]]:
    return {(port["name"], port["protocol"]) for each in spec["containers"] for port in each.get("ports", [])}


# --- what is rendered ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"api__existingSecret": ""}, "existingSecret"),
        ({"replica": 3}, "replica"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": 0}, "replicas"),
        ({"dnsPort": 53}, "dnsPort"),
        ({"listen": []}, "listen"),
        ({"image__digest": "4.9"}, "digest"),
        ({"config__api-key": "guess"}, "api-key"),
        ({"config__gpgsql-password": "guess"}, "gpgsql-password"),
        ({"config__local-port": 53}, "local-port"),
        ({"config__tcp-control-secret": "guess"}, "tcp-control-secret"),
        ({"config__enable-lua-records": True}, "enable-lua-records"),
        ({"config__loglevel": "5\napi-key=guess"}, "loglevel"),
        ({"service__type": "ExternalName"}, "type"),
        ({"database__sslMode": "on"}, "sslMode"),
        ({"database__cnpg__backup": {"barmanObjectStore": {}}}, "barmanObjectStore"),
        ({"database__cnpg__storage__size": "10 GB"}, "size"),
        ({"dnsdist__rateLimit__exempt": ["pdm.svc"]}, "exempt"),
        ({"networkPolicy__clients": []}, "clients"),
        ({"database__cnpg__create": False}, "database.external.existingSecret must be given"),
        ({"database__external__existingSecret": "mine"}, "set database.cnpg.create to false"),
    ],
    ids=str,
)
def test_wrong_values_are_refused_by_name(version: str, settings: dict[str, Any], told: str) -> None:
    """What cannot work is no template, and the message names the value."""
    arguments = [f"--set-json={key.replace('__', '.')}={json.dumps(value)}" for key, value in settings.items()]
    done = helm(version, "template", "pdm", CHART, "--values", DEFAULTS, *arguments)
    assert done.returncode != 0
    assert told in done.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"database__pooler__enabled": True}, "database.pooler.enabled needs"),
        ({"database__cnpg__scheduledBackup__enabled": True}, "scheduledBackup.enabled needs"),
        ({"database__sslMode": "verify-full"}, "needs database.external.caSecret"),
    ],
    ids=str,
)
def test_values_that_contradict_an_external_database_are_refused(settings: dict[str, Any], told: str) -> None:
    """What needs a cluster or a certificate is not silently left out."""
    arguments = [f"--set-json={key.replace('__', '.')}={json.dumps(value)}" for key, value in settings.items()]
    done = helm("4.1", "template", "pdm", CHART, "--values", MINIMAL, *arguments)
    assert done.returncode != 0
    assert told in done.stderr


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_secrets_are_only_referred_to(values: Path) -> None:
    """No key or password stands in a ConfigMap, a command or a plain variable."""
    objects = render("powerdns", values)
    for each in objects:
        if each["kind"] == "ConfigMap":
            assert not re.search(
                r"(?m)^\s*(api-key|webserver-password|gpgsql-password)\s*=", "\n".join(each["data"].values())
            )
            assert not re.search(r"password=|apiKey=", each["data"].get("dnsdist.conf", ""))


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_services_policies_and_budgets_meet_their_pods(values: Path) -> None:
    """What selects pods selects exactly one kind of them, and names ports that it has."""
    objects = render("powerdns", values)
    for each in objects:
        if each["kind"] == "Service":
            (spec,) = selected(objects, each["spec"]["selector"])
            assert {(port["targetPort"], port["protocol"]) for port in each["spec"]["ports"]} <= port_names(spec)
        elif each["kind"] in {"NetworkPolicy", "PodDisruptionBudget", "PodMonitor"}:
            selector = each["spec"]["podSelector" if each["kind"] == "NetworkPolicy" else "selector"]["matchLabels"]
            if "cnpg.io/cluster" in selector:
                continue
            (spec,) = selected(objects, selector)
            ports = [port for rule in each["spec"].get("ingress", []) for port in rule["ports"]]
            assert {(port["port"], port["protocol"]) for port in ports} <= port_names(spec)
            for endpoint in each["spec"].get("podMetricsEndpoints", []):
                assert (endpoint["port"], "TCP") in port_names(spec)


@pytest.mark.parametrize("monitored", [False, True])
def test_only_clients_and_prometheus_reach_the_api(monitored: bool) -> None:
    """The API is a ClusterIP, and every rule that opens its port names its peers: Prometheus where it reads metrics."""
    objects = render("powerdns", DEFAULTS, metrics__podMonitor__enabled=monitored)
    assert one(objects, "Service", "pdm-powerdns-api")["spec"]["type"] == "ClusterIP"
    rules = one(objects, "NetworkPolicy", "pdm-powerdns")["spec"]["ingress"]
    peers = [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
        for rule in rules
        if "api" in {port["port"] for port in rule["ports"]}
        for peer in rule["from"]
    ]
    assert ["pool-domain-manager", "powerdns", *(["prometheus"] if monitored else [])] == peers
    assert all("from" in rule for rule in rules)


def test_without_dnsdist_the_service_goes_to_powerdns() -> None:
    """DNS is then open to all, the API still is not."""
    objects = render("powerdns", DEFAULTS, dnsdist__enabled=False)
    assert not [each for each in objects if each["metadata"]["name"].endswith("dnsdist")]
    selector = one(objects, "Service", "pdm-powerdns")["spec"]["selector"]
    assert selector["app.kubernetes.io/component"] == "powerdns"
    open_ports = [
        {port["port"] for port in rule["ports"]}
        for rule in one(objects, "NetworkPolicy", "pdm-powerdns")["spec"]["ingress"]
        if "from" not in rule
    ]
    assert [{"dns-udp", "dns-tcp"}] == open_ports


def test_a_changed_configuration_replaces_the_pods() -> None:
    """A ConfigMap alone would be read by nobody."""

    def checksums(**settings: Any) -> dict[str, str]:
        objects = render("powerdns", DEFAULTS, **settings)
        return {
            each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for each in objects
            if each["kind"] == "Deployment"
        }

    before = checksums()
    assert before == checksums(replicas=5)
    assert {"pdm-powerdns"} == {key for key, value in checksums(config__loglevel=5).items() if before[key] != value}
    changed = checksums(dnsdist__rateLimit__qps=7)
    assert {"pdm-powerdns-dnsdist"} == {key for key, value in changed.items() if before[key] != value}


def test_a_changed_job_has_another_name() -> None:
    """A Job cannot be changed, so that an upgrade with the same name would fail."""
    specs: dict[str, Any] = {}
    cases: list[dict[str, Any]] = [
        {},
        {"replicas": 5},
        {"schema__image__tag": "18"},
        {"schema__resources": {"limits": {"memory": "1Gi"}}},
        {"database__sslMode": "require"},
        {"nodeSelector": {"a": "b"}},
        {"commonLabels": {"team": "b"}},
    ]
    for settings in cases:
        job = one(render("powerdns", DEFAULTS, **settings), "Job")
        assert specs.setdefault(job["metadata"]["name"], job["spec"]) == job["spec"]
        assert "ttlSecondsAfterFinished" not in job["spec"]
        assert "annotations" not in job["metadata"]
    assert len(specs) == len(cases) - 1


def test_names_fit_whatever_the_release_is_called() -> None:
    """Names of Services and labels have at most 63 characters, and the operator takes 50 for a Cluster."""
    objects = render("powerdns", DEFAULTS, release="r" * 53, database__pooler__enabled=True)
    assert all(len(each["metadata"]["name"]) <= 63 for each in objects)
    assert len(one(objects, "Cluster")["metadata"]["name"]) <= 50


def test_the_cluster_outlives_the_release_and_nothing_deprecated_is_used() -> None:
    """The zones' keys are in the cluster's volumes."""
    objects = render("powerdns", EVERYTHING)
    cluster = one(objects, "Cluster")
    assert cluster["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "monitoring" not in cluster["spec"]
    assert "barmanObjectStore" not in cluster["spec"]["backup"]
    assert one(objects, "ScheduledBackup")["spec"]["cluster"]["name"] == cluster["metadata"]["name"]
    assert one(render("powerdns", DEFAULTS), "Cluster")["spec"]["instances"] == 3


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, {"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True}),
        ({"parameters": {"max_connections": "200"}},
         {"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True}),
        ({"instances": 1}, None),
        ({"synchronous__enabled": False, "parameters": {"max_connections": "200"}}, None),
    ],
)  # fmt: skip
def test_commits_wait_for_a_standby(values: dict[str, Any], wanted: dict[str, Any] | None) -> None:
    """Where there is a standby, commits wait for one, unless chosen otherwise; a switchover does not take an hour."""
    settings = {f"database__cnpg__{key}": value for key, value in values.items()}
    spec = one(render("powerdns", DEFAULTS, **settings), "Cluster")["spec"]
    assert spec.get("postgresql", {}).get("synchronous") == wanted
    assert spec.get("postgresql", {}).get("parameters") == values.get("parameters")
    assert spec["switchoverDelay"] < 60


def environment(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        variable["name"]: variable.get("value") or (reference["name"], reference["key"])
        for variable in spec["containers"][0]["env"]
        for reference in [variable.get("valueFrom", {}).get("secretKeyRef")]
    }


def test_only_powerdns_goes_by_the_pooler() -> None:
    """In transaction mode prepared statements are off; the schema goes straight to the primary."""
    objects = render("powerdns", EVERYTHING)
    pooler, cluster = one(objects, "Pooler"), one(objects, "Cluster")
    assert pooler["spec"]["pgbouncer"]["poolMode"] == "transaction"
    assert pooler["spec"]["cluster"]["name"] == cluster["metadata"]["name"]
    powerdns = environment(pod_spec(one(objects, "Deployment", "dns")))
    assert pooler["metadata"]["name"] == powerdns["PGHOST"]
    assert "gpgsql-prepared-statements=no" in one(objects, "ConfigMap", "dns")["data"]["pdns.conf"]
    assert environment(pod_spec(one(objects, "Job")))["PGHOST"] == ("dns-db-app", "host")
    direct = render("powerdns", DEFAULTS)
    assert "prepared" not in one(direct, "ConfigMap", "pdm-powerdns")["data"]["pdns.conf"]
    assert environment(pod_spec(one(direct, "Deployment", "pdm-powerdns")))["PGSSLMODE"] == "verify-full"


def test_a_powerdns_without_its_database_is_not_ready() -> None:
    """It listens before it has connected, and ends when it cannot; the first probe comes after that."""
    objects = render("powerdns", DEFAULTS)
    conf = one(objects, "ConfigMap", "pdm-powerdns")["data"]["pdns.conf"]
    timeout = re.search(r"connect_timeout=(\d+)", conf)
    assert timeout is not None
    (container,) = pod_spec(one(objects, "Deployment", "pdm-powerdns"))["containers"]
    assert container["startupProbe"]["initialDelaySeconds"] > int(timeout[1])


def test_a_setting_can_be_changed_added_and_taken_away() -> None:
    """Large numbers stay numbers."""
    conf = one(render("powerdns", EVERYTHING), "ConfigMap", "dns")["data"]["pdns.conf"].splitlines()
    assert {"loglevel=5", "max-cache-entries=2000000", "cache-ttl=5"} <= set(conf)
    assert not [line for line in conf if line.startswith("version-string")]


def test_pool_domain_manager_is_told_the_names_that_are_rendered() -> None:
    """The README's values for the other chart fit this one's objects, and the other chart takes them."""
    block = re.search(r"```yaml\n(.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    assert block is not None
    values = yaml.safe_load(block[1])
    objects = render("powerdns", DEFAULTS, release="powerdns")
    service = one(objects, "Service", "powerdns-api")
    assert values["powerdns"]["url"] == f"http://powerdns-api.dns.svc:{service['spec']['ports'][0]['port']}"
    (api,) = (one for one in pod_spec(one(objects, "Deployment", "powerdns"))["volumes"] if one["name"] == "api")
    assert api["secret"]["items"][0]["key"] == values["powerdns"]["secretKey"]
    assert {"powerdns", "powerdns-backend"} <= {
        each["metadata"]["name"] for each in objects if each["kind"] == "Service"
    }
    other = json.loads((ROOT / "charts/pool-domain-manager/values.schema.json").read_text())
    for path in ("powerdns.url", "powerdns.existingSecret", "powerdns.secretKey", "nameservers", "nameserverAddresses"):
        node = other
        for key in path.split("."):
            node = node["properties"][key]


# --- alerts --------------------------------------------------------------------------------------


def test_prometheus_accepts_the_alerts(tmp_path: Path) -> None:
    """All alerts are in the rendered rule, and their expressions and templates parse."""
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool; scripts/setup installs it")
    spec = one(render("powerdns", EVERYTHING), "PrometheusRule")["spec"]
    assert [path.stem for path in ALERTS] == [rule["alert"] for rule in spec["groups"][0]["rules"]]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    without = one(render("powerdns", EVERYTHING, dnsdist__enabled=False), "PrometheusRule")["spec"]["groups"][0][
        "rules"
    ]
    assert ["PowerDNSDown", "PowerDNSServfail"] == [rule["alert"] for rule in without]


@pytest.mark.parametrize("path", ALERTS, ids=lambda path: path.stem)
def test_each_alert_has_a_runbook(path: Path) -> None:
    """Its link leads to a section of the README."""
    alert = yaml.safe_load(path.read_text())
    assert alert["alert"] == path.stem
    assert f"charts/powerdns/README.md#{path.stem.lower()}" == alert["annotations"]["runbook_url"]
    assert f"### {path.stem}\n" in (CHART / "README.md").read_text()


# --- the real servers ----------------------------------------------------------------------------

needs_servers = pytest.mark.skipif(
    not all(shutil.which(program) for program in PROGRAMS), reason="there is no PowerDNS, dnsdist or psql here"
)
# A key and a password with all that a shell or a configuration file might trip over.
API_KEY = """k'3"y $HOME %s \\ =;"""
PASSWORD = """p'4"s $HOME \\ =;#"""


def server_id(port: int, source: str = "127.0.0.1") -> dns.message.Message:
    query = dns.message.make_query("id.server.", "TXT", "CH")
    return dns.query.udp(query, "127.0.0.1", port=port, timeout=patient(2), source=source)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=patient(2)).close()
        return bool(server_id(port).answer)
    except (OSError, dns.exception.Timeout):
        return False


class Plane:
    """The pods of one rendered release, on this machine."""

    def __init__(self, directory: Path, database: dict[str, str], authority: str, **settings: Any) -> None:
        self.directory = directory
        self.ports = {key: free_port() for key in ("dnsPort", "api__port", "dnsdist__dnsPort", "dnsdist__metricsPort")}
        self.objects = render("powerdns", CHART / "ci" / "external-database-values.yaml", **(self.ports | settings))
        self.secrets = {
            "powerdns-api": {"api-key": API_KEY},
            "powerdns-database": database,
            "database-authority": {"authority.pem": authority},
        }
        self.pods: list[Pod] = []

    def pod(self, each: dict[str, Any]) -> Pod:
        services = [each["metadata"]["name"] for each in self.objects if each["kind"] == "Service"]
        names = [*services, *(f"{service}.pdm.svc" for service in services)]
        self.pods.append(Pod(self.directory, pod_spec(each), self.objects, self.secrets, names))
        return self.pods[-1]

    def schema(self) -> Pod:
        return self.pod(one(self.objects, "Job"))

    def powerdns(self) -> Pod:
        return self._served(one(self.objects, "Deployment", "pdm-powerdns"), self.ports["dnsPort"])

    def dnsdist(self) -> Pod:
        return self._served(one(self.objects, "Deployment", "pdm-powerdns-dnsdist"), self.dns)

    def _served(self, deployment: dict[str, Any], port: int) -> Pod:
        pod = self.pod(deployment).start()
        eventually(lambda: not pod.runs or answers(port), 15, f"{pod.name} to answer")
        assert pod.runs, pod.says()
        return pod

    def metrics(self, port: str) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}/metrics", timeout=patient(5)) as reply:
            lines = [line for line in reply.read().decode().splitlines() if not line.startswith("#")]
        return {line.split("{")[0].split()[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line}

    @property
    def dns(self) -> int:
        return self.ports["dnsdist__dnsPort"]

    @property
    def server(self) -> Any:
        """What the tests' clients want to know of a PowerDNS, with dnsdist for its DNS."""
        return SimpleNamespace(
            api_url=f"http://127.0.0.1:{self.ports['api__port']}", api_key=API_KEY, dns_port=self.dns
        )

    def end(self) -> None:
        for pod in self.pods:
            pod.kill()


class Database:
    """A PostgreSQL with TLS, whose certificate names 127.0.0.1, and databases that belong to a plain user."""

    def __init__(self, directory: Path) -> None:
        self.server = Postgres(directory / "postgres", free_port(), durable=False)
        self.server.start()
        self.authority = self._certificate(directory / "postgres" / "data")
        self.server._execute("ALTER SYSTEM SET ssl = on")
        self.server._execute("SELECT pg_reload_conf()")
        quoted = PASSWORD.replace("'", "''")
        self.server._execute(f"CREATE ROLE powerdns LOGIN PASSWORD '{quoted}'")

    def new(self) -> dict[str, str]:
        """Make a database; return the Secret that tells of it."""
        database = name("zones_")
        self.server._execute(f"CREATE DATABASE {database} OWNER powerdns")
        told = {"hostname": "127.0.0.1", "port": str(self.server.port), "database": database}
        return {**told, "username": "powerdns", "password": PASSWORD}

    def fetch(self, statement: str, secret: dict[str, str]) -> list[Any]:
        rows = with_connection(self.server.dsn(secret["database"]), lambda connection: connection.fetch(statement))
        return [row[0] for row in rows]

    def execute(self, statement: str, secret: dict[str, str]) -> None:
        with_connection(self.server.dsn(secret["database"]), lambda connection: connection.execute(statement))

    @staticmethod
    def _certificate(directory: Path) -> str:
        certificate, key = directory / "server.crt", directory / "server.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/CN=database", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        owner = directory.stat()
        for path in (certificate, key):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        key.chmod(0o600)
        return certificate.read_text()


@pytest.fixture(scope="module")
def database(directory: Path) -> Iterator[Database]:
    place = directory / "powerdns-chart"
    place.mkdir(mode=0o711)
    made = Database(place)
    yield made
    made.server.stop()


@pytest.fixture
def new_plane(directory: Path, database: Database) -> Iterator[Callable[..., Plane]]:
    """Render a release with a database of its own; its pods end with the test."""
    made: list[Plane] = []

    def make(secret: dict[str, str] | None = None, **settings: Any) -> Plane:
        place = directory / name("plane-")
        place.mkdir(mode=0o755)
        made.append(Plane(place, secret or database.new(), database.authority, **settings))
        return made[-1]

    yield make
    for plane in made:
        plane.end()


@pytest.fixture(scope="module")
def plane(directory: Path, database: Database) -> Iterator[Plane]:
    """The release of all tests that leave its pods alone."""
    place = directory / name("plane-")
    place.mkdir(mode=0o755)
    made = Plane(place, database.new(), database.authority)
    try:
        made.schema().run()
        made.powerdns()
        made.dnsdist()
        yield made
    finally:
        made.end()


TABLES = "SELECT oid::int FROM pg_class WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace"


@needs_servers
@needs_root
class TestSchemaJob:
    """The job of the rendered chart, run by its own command."""

    def test_makes_the_tables_once(self, new_plane: Callable[..., Plane], database: Database) -> None:
        """A second run changes nothing, and the tables belong to PowerDNS's user."""
        plane = new_plane()
        secret = plane.secrets["powerdns-database"]
        assert plane.schema().run() == "The tables are made.\n"
        made = database.fetch(TABLES, secret)
        assert plane.schema().run() == "The tables are there.\n"
        assert len(made) > 20
        assert made == database.fetch(TABLES, secret)
        owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        assert database.fetch(owners, secret) == ["powerdns"]

    def test_may_run_several_times_at_once(self, new_plane: Callable[..., Plane]) -> None:
        """One makes the tables, the others find them."""
        plane = new_plane()
        jobs = [plane.schema().start() for _ in range(4)]
        assert [0] * 4 == [job.process.wait(patient(30)) for job in jobs if job.process]
        assert ["The tables are made.\n", *["The tables are there.\n"] * 3] == sorted(job.says() for job in jobs)

    def test_leaves_nothing_when_it_is_killed_halfway(
        self, new_plane: Callable[..., Plane], database: Database
    ) -> None:
        """It is one transaction; the next run makes all, also one that has waited meanwhile."""
        plane = new_plane()
        secret = plane.secrets["powerdns-database"]
        # Holds the job up when it has made the last table.
        database.execute(
            """
            CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF to_regclass('tsigkeys') IS NOT NULL THEN PERFORM pg_sleep(600); END IF;
            END $$;
            CREATE EVENT TRIGGER hold ON ddl_command_end EXECUTE FUNCTION hold();
            """,
            secret,
        )
        waiting = "SELECT wait_event FROM pg_stat_activity WHERE datname = current_database() AND usename = 'powerdns'"
        killed = plane.schema().start()
        eventually(lambda: database.fetch(waiting, secret) == ["PgSleep"], 20, "the job to be halfway")
        next_one = plane.schema().start()
        eventually(lambda: sorted(map(str, database.fetch(waiting, secret))) == ["PgSleep", "advisory"], 20)
        killed.kill()
        # In its sleep PostgreSQL does not see that the client is gone.
        database.execute("ALTER EVENT TRIGGER hold DISABLE", secret)
        assert database.fetch(TABLES, secret) == []
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        assert database.fetch(ended, secret) == [True]
        assert next_one.process is not None
        assert next_one.process.wait(patient(20)) == 0, next_one.says()
        assert next_one.says() == "The tables are made.\n"

    def test_waits_for_the_database(self, new_plane: Callable[..., Plane], database: Database) -> None:
        """It is made together with its database, which takes longer to come."""
        secret = database.new()
        plane = new_plane({**secret, "database": "later"})
        job = plane.schema().start()
        eventually(lambda: 'database "later" does not exist' in job.says(), 20)
        assert job.runs
        database.server._execute("CREATE DATABASE later OWNER powerdns")
        assert job.process is not None
        assert job.process.wait(patient(20)) == 0, job.says()

    def test_tables_are_those_of_powerdns(self) -> None:
        """The copy says that it is unchanged."""
        original = Path("/usr/share/pdns-backend-pgsql/schema/schema.pgsql.sql")
        if not original.exists():
            pytest.skip("PowerDNS's own copy is not installed")
        copy = (CHART / "files" / "schema.sql").read_text().splitlines()
        assert original.read_text().splitlines() == [line for line in copy if not line.startswith("--")]


def published(port: int, fqdn: str, address: str) -> None:
    """Assert the address of a name, and that its signature goes back to the DS in the parent."""
    (ds,) = [one for one in ask(port, fqdn, "DS", recurse=True).answer if one.rdtype == dns.rdatatype.DS]
    owner = dns.name.from_text(fqdn)
    keys = next(one for one in ask(port, fqdn, "DNSKEY", recurse=True).answer if one.rdtype == dns.rdatatype.DNSKEY)
    assert ds[0] in [dns.dnssec.make_ds(owner, key, "SHA256") for key in keys]
    answer = ask(port, fqdn, "A", recurse=True).answer
    (found,) = [one for one in answer if one.rdtype == dns.rdatatype.A]
    (signature,) = [one for one in answer if one.rdtype == dns.rdatatype.RRSIG]
    dns.dnssec.validate(found, signature, {owner: keys})
    assert [address] == [rdata.to_text() for rdata in found]


@needs_servers
@needs_root
class TestPlane:
    """PowerDNS and dnsdist with the rendered configuration, environment, account and mounts."""

    def test_pool_domain_manager_publishes_through_it(
        self, plane: Plane, directory: Path, database_url: str, pool: str
    ) -> None:
        """A name is seen through dnsdist with its DS, is signed, and is gone after its release."""
        with running(Service(directory, database_url, plane.server, pool)) as service:
            eventually(service.pools_ready, 20)
            label = name()
            fqdn = f"{label}.{pool}"
            assert dns.rcode.NXDOMAIN == ask(plane.dns, fqdn, "A").rcode()
            token = service.publish(label, "192.0.2.44")["reservationToken"]
            published(plane.dns, fqdn, "192.0.2.44")
            assert service.release(label, reservationToken=token).status_code in {200, 202}
            service.gone(label)
            eventually(lambda: ask(plane.dns, fqdn, "A").rcode() == dns.rcode.NXDOMAIN, 10, "the name to be denied")

    def test_lua_records_answer(self, plane: Plane) -> None:
        """The API takes them and PowerDNS runs them."""
        zone = f"{name('z')}.test"
        lua = rrset(f"www.{zone}", "LUA", "A \"pickrandom({'192.0.2.7'})\"")
        Api(plane.server).create(zone, nameservers=["ns1.platform.test."], rrsets=[lua])
        assert records(plane.dns, f"www.{zone}", "A") == ["192.0.2.7"]

    def test_api_wants_the_key_and_nobody_sees_it(self, plane: Plane) -> None:
        """It is neither in the log nor in the command nor in the environment of PowerDNS."""
        url = f"{plane.server.api_url}/api/v1/servers/localhost"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(url, timeout=patient(5))
        assert Api(plane.server)._call("GET", "").json()["daemon_type"] == "authoritative"
        (powerdns,) = [pod for pod in plane.pods if pod.name == "powerdns"]
        assert powerdns.process is not None
        place = Path(f"/proc/{powerdns.process.pid}")
        assert (place / "comm").read_text() == "pdns_server\n"
        for text in (powerdns.says(), (place / "cmdline").read_text(), (place / "environ").read_text()):
            assert API_KEY not in text
        assert (place / "root/var/run/pdns/api-key.conf").stat().st_mode & 0o777 == 0o600

    def test_powerdns_has_the_settings(self, plane: Plane) -> None:
        """What the chart sets is what PowerDNS says it has."""
        told = {each["name"]: each["value"] for each in Api(plane.server)._call("GET", "/config").json()}
        values = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
        known = values.keys() - {told["ignore-unknown-settings"]}
        assert {key: str(values[key]) for key in known} == {key: told[key] for key in known}

    def test_database_is_reached_by_verified_tls(
        self, plane: Plane, database: Database, new_plane: Callable[..., Plane]
    ) -> None:
        """All connections are encrypted, and a server with another certificate is not talked to."""
        secret = plane.secrets["powerdns-database"]
        assert environment(pod_spec(one(plane.objects, "Deployment", "pdm-powerdns")))["PGSSLMODE"] == "verify-full"
        encrypted = """
            SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE usename = 'powerdns' AND datname = current_database()
        """
        assert set(database.fetch(encrypted, secret)) == {True}
        other = new_plane(secret)
        place = other.directory / "other"
        place.mkdir()
        other.secrets["database-authority"]["authority.pem"] = Database._certificate(place)
        pod = other.pod(one(other.objects, "Deployment", "pdm-powerdns")).start()
        eventually(lambda: "certificate verify failed" in pod.says(), 15, "PowerDNS to refuse the certificate")

    def test_second_replica_serves_a_new_zone(self, plane: Plane, new_plane: Callable[..., Plane]) -> None:
        """Also one that it was asked for before: what one replica makes all serve within the caches' seconds."""
        second = new_plane(plane.secrets["powerdns-database"])
        second.powerdns()
        zone = f"{name('z')}.test"
        assert records(second.ports["dnsPort"], zone, "SOA") == []
        Api(plane.server).create(zone, nameservers=["ns1.platform.test."])
        eventually(lambda: records(second.ports["dnsPort"], zone, "SOA"), 8, "the second replica to serve the zone")

    def test_powerdns_may_start_before_its_tables(self, new_plane: Callable[..., Plane]) -> None:
        """It goes on once the job has made them."""
        plane = new_plane()
        plane.powerdns()
        zone = f"{name('z')}.test"
        assert Api(plane.server)._call("GET", f"/zones/{zone}.").status_code == 500
        plane.schema().run()
        Api(plane.server).create(zone, nameservers=["ns1.platform.test."])
        assert records(plane.ports["dnsPort"], zone, "NS") == ["ns1.platform.test."]

    def test_servers_end_when_asked(self, new_plane: Callable[..., Plane]) -> None:
        """They obey SIGTERM, as they are not process 1 of a namespace."""
        plane = new_plane()
        powerdns, dnsdist = plane.powerdns(), plane.dnsdist()
        powerdns.stop()
        dnsdist.stop()
        for deployment in (each for each in plane.objects if each["kind"] == "Deployment"):
            assert pod_spec(deployment)["shareProcessNamespace"] is True

    def test_helm_test_passes_and_fails(self, plane: Plane) -> None:
        """The test's own script sees a plane that works, and one that does not."""
        pod = one(plane.objects, "Pod")
        public, backend = pod["spec"]["containers"][0]["args"]
        assert public == "pdm-powerdns:53"
        assert backend == f"pdm-powerdns-backend:{plane.ports['dnsPort']}"
        # The Service's port 53 is dnsdist's port here.
        said = plane.pod(pod).run(arguments=[f"pdm-powerdns:{plane.dns}", backend])
        assert said.count("answers") == 2
        plane.secrets["powerdns-api"]["api-key"] = "another"
        try:
            with pytest.raises(AssertionError, match="401"):
                plane.pod(pod).run(arguments=[])
        finally:
            plane.secrets["powerdns-api"]["api-key"] = API_KEY

    def test_metrics_of_the_alerts_exist(self, plane: Plane) -> None:
        """Each metric that an alert is made of is exposed, without a password."""
        exposed = plane.metrics("api__port").keys() | plane.metrics("dnsdist__metricsPort").keys()
        used = {
            metric
            for path in ALERTS
            for metric in re.findall(r"\b(?:pdns_auth|dnsdist)_\w+", yaml.safe_load(path.read_text())["expr"])
        }
        assert len(used) >= 5
        assert used <= exposed

    def test_dnsdist_shows_only_metrics(self, plane: Plane) -> None:
        """Its API is closed, since no key is set."""
        base = f"http://127.0.0.1:{plane.ports['dnsdist__metricsPort']}"
        for path in ("/", "/api/v1/servers/localhost", "/api/v1/servers/localhost/config"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(base + path, timeout=patient(5))

    def test_sources_are_limited_but_for_the_exempt(self, plane: Plane, new_plane: Callable[..., Plane]) -> None:
        """Above its limit a source is told to use TCP, where there is no limit; an exempt one is answered always."""
        limits = {"qps": 5, "burst": 10, "exempt": ["127.0.0.2/32"]}
        limited = new_plane(plane.secrets["powerdns-database"], dnsdist__rateLimit=limits)
        limited.powerdns()
        limited.dnsdist()

        def truncated(source: str) -> int:
            replies = [server_id(limited.dns, source) for _ in range(40)]
            return sum(bool(reply.flags & dns.flags.TC) for reply in replies)

        assert truncated("127.0.0.2") == 0
        assert truncated("127.0.0.1") >= 20
        query = dns.message.make_query("id.server.", "TXT", "CH")
        replies = [
            dns.query.tcp(query, "127.0.0.1", port=limited.dns, timeout=patient(5), source="127.0.0.3")
            for _ in range(40)
        ]
        assert {(dns.rcode.NOERROR, 1)} == {(reply.rcode(), len(reply.answer)) for reply in replies}
        # Nor does TCP count.
        assert not server_id(limited.dns, "127.0.0.3").flags & dns.flags.TC

    def test_outage_of_the_database_is_survived(self, new_plane: Callable[..., Plane], directory: Path) -> None:
        """Questions are answered SERVFAIL, and rightly again when the database is back, without a restart."""
        place = directory / name("outage-")
        place.mkdir(mode=0o711)
        database = Database(place)
        mine = new_plane(database.new())
        mine.secrets["database-authority"]["authority.pem"] = database.authority
        try:
            mine.schema().run()
            powerdns = mine.powerdns()
            mine.dnsdist()
            zone = f"{name('z')}.test"
            Api(mine.server).create(zone, nameservers=["ns1.platform.test."])
            database.server.stop()
            assert dns.rcode.SERVFAIL == ask(mine.dns, f"{name()}.{zone}", "A").rcode()
            assert powerdns.runs
            database.server.start()
            eventually(lambda: records(mine.dns, zone, "NS") == ["ns1.platform.test."], 15)
            assert powerdns.runs
        finally:
            database.server.stop()

    def test_dnsdist_without_powerdns_says_so(self, plane: Plane, new_plane: Callable[..., Plane]) -> None:
        """It answers SERVFAIL, the metric of the alert is 0, and it goes on when PowerDNS is back."""
        mine = new_plane(plane.secrets["powerdns-database"])
        powerdns = mine.powerdns()
        mine.dnsdist()
        assert mine.metrics("dnsdist__metricsPort")["dnsdist_server_status"] == 1
        powerdns.kill()
        eventually(lambda: mine.metrics("dnsdist__metricsPort")["dnsdist_server_status"] == 0, 20)
        assert dns.rcode.SERVFAIL == server_id(mine.dns).rcode()
        mine.powerdns()
        eventually(lambda: answers(mine.dns), 10, "dnsdist to find PowerDNS again")

    @pytest.mark.parametrize("values", [DEFAULTS, EVERYTHING], ids=lambda path: path.stem)
    def test_dnsdist_accepts_its_configuration(self, values: Path, directory: Path) -> None:
        """dnsdist's own check, with all that the values can add; a Service without an address is an error."""
        objects = render("powerdns", values)
        (deployment,) = [
            each for each in objects if each["metadata"]["name"].endswith("dnsdist") and each["kind"] == "Deployment"
        ]
        spec = pod_spec(deployment)
        spec["containers"][0]["args"] = ["--check-config"]
        place = directory / name("check-")
        place.mkdir(mode=0o755)
        services = [f"{each['metadata']['name']}.pdm.svc" for each in objects if each["kind"] == "Service"]
        said = Pod(place, spec, objects, {}, services).run()
        assert "OK!" in said
        with pytest.raises(AssertionError, match="has no address"):
            Pod(place, spec, objects, {}, []).run()
