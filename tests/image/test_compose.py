"""compose.yaml: what it promises, and its very settings and files with the programs of this machine."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pdm_service.dev.postgres import machine_programs, wheel_programs
from pdm_service.dev.powerdns import _schema_file
from pdm_service.dev.process import find_program, start_child
from pdm_service.dev.servers import Postgres, ServerFailed, free_port
from tests.eventually import eventually
from tests.image.conftest import ROOT
from tests.patience import patient
from tests.service import PDM, name

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
CHART = ROOT / "charts" / "pool-domain-manager"
KEY = {"Authorization": "Bearer demo-key-for-trying-only"}


def environment(service: str) -> dict[str, str]:
    return {key: str(value) for key, value in SERVICES[service]["environment"].items()}


def mounts(service: str) -> dict[str, str]:
    """What is mounted, by where."""
    found = [one.split(":") for one in SERVICES[service].get("volumes", [])]
    return {target: source for source, target, *_ in found}


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_confined(service: str) -> None:
    """No service writes to its root or keeps a capability that it can do without, and none is seen from outside."""
    found = SERVICES[service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found.get("cap_add", []) == (["NET_BIND_SERVICE"] if service == "powerdns" else [])
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "devices"} & set(found)
    assert all(port.startswith("127.0.0.1:") for port in found.get("ports", []))


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_complete(service: str) -> None:
    """A service has a pinned image, files that exist, declared volumes, and waits for what can be waited for."""
    found = SERVICES[service]
    assert found.get("build") == "." or re.search(r":v?\d+\.\d+(\.\d+)?$", found["image"])
    for source in mounts(service).values():
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
    for other, how in found.get("depends_on", {}).items():
        healthy = "healthcheck" in SERVICES[other] or SERVICES[other].get("build") == "."
        ends = SERVICES[other].get("restart") == "no"
        assert (how["condition"], True) in {("service_healthy", healthy), ("service_completed_successfully", ends)}


def test_grafana_is_provisioned() -> None:
    """Its data source is the stack's Prometheus, and the directory that it reads dashboards from has the chart's."""
    where = mounts("grafana")
    (source,) = [
        one
        for path in (ROOT / where["/etc/grafana/provisioning/datasources"]).iterdir()
        for one in yaml.safe_load(path.read_text())["datasources"]
    ]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    (provider,) = [
        one
        for path in (ROOT / where["/etc/grafana/provisioning/dashboards"]).iterdir()
        for one in yaml.safe_load(path.read_text())["providers"]
    ]
    assert (ROOT / where[provider["options"]["path"]]).resolve() == CHART / "dashboards"
    home = Path(environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads((ROOT / where[str(home.parent)] / home.name).read_text())["uid"] == "pdm-overview"


class Stack:
    """Services of compose.yaml as processes here: their hosts are 127.0.0.1, their ports free ones, their paths ours."""

    def __init__(self, directory: Path, postgres: Postgres) -> None:
        self.directory = directory
        self.postgres = postgres
        self.api, self.dns, self.pdm, self.prometheus = free_port(), free_port(), free_port(), free_port()
        self._made: list[subprocess.Popen[bytes]] = []

    def run(self, service: str, command: list[str], **settings: str) -> None:
        with (self.directory / f"{service}.log").open("wb") as log:
            self._made.append(
                start_child(
                    command, env={"PATH": os.environ["PATH"], **settings}, cwd=self.directory, stdout=log, stderr=log
                )
            )

    def ours(self, service: str, text: str) -> str:
        """A text of the service's with our places for its own."""
        places = {
            target: str(ROOT / source if source.startswith("./") else self.directory / source)
            for target, source in mounts(service).items()
        } | {
            "/tmp/rules.yml": str(self.directory / "rules.yml"),
            "postgres/pdm": f"127.0.0.1:{self.postgres.port}/pdm",
            "powerdns:8081": f"127.0.0.1:{self.api}",
            "pdm:8080": f"127.0.0.1:{self.pdm}",
            "0.0.0.0": "127.0.0.1",
        }
        theirs = "|".join(map(re.escape, sorted(places, key=len, reverse=True)))
        return re.sub(rf"(?<![\w.])({theirs})(?![\w.-])", lambda found: places[found[1]], text)

    def make_databases(self) -> None:
        script = (ROOT / mounts("postgres")["/docker-entrypoint-initdb.d/databases.sql"]).read_text()
        (self.directory / "schema").mkdir()
        copied, where = SERVICES["powerdns-schema"]["entrypoint"][1:]
        shutil.copy(_schema_file(), self.directory / mounts("powerdns-schema")[where.rstrip("/")] / Path(copied).name)
        psql = shutil.which("psql") or str((machine_programs() or wheel_programs() or Path()) / "psql")
        subprocess.run(
            [psql, "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "--dbname", self.postgres.dsn()],
            input=self.ours("postgres", script), text=True, check=True, capture_output=True, timeout=patient(60),
        )  # fmt: skip

    def start(self) -> None:
        self.make_databases()
        (self.directory / "pdns.conf").write_text(
            self.ours("powerdns", (ROOT / mounts("powerdns")["/etc/powerdns/pdns.conf"]).read_text())
        )
        self.run(
            "powerdns",
            [str(find_program("pdns_server")), f"--config-dir={self.directory}", "--disable-syslog",
             "--gpgsql-host=127.0.0.1", f"--gpgsql-port={self.postgres.port}", f"--webserver-port={self.api}",
             f"--local-port={self.dns}", f"--socket-dir={self.directory}"],
        )  # fmt: skip
        settings = {key: self.ours("pdm", value) for key, value in environment("pdm").items()}
        self.run("pdm", [PDM, "serve"], PORT=str(self.pdm), **settings)

    def start_prometheus(self) -> None:
        script = self.ours("prometheus", (ROOT / mounts("prometheus")["/etc/prometheus/prometheus.sh"]).read_text())
        config = self.directory / "prometheus.yml"
        theirs = ROOT / mounts("prometheus")["/etc/prometheus/prometheus.yml"]
        config.write_text(self.ours("prometheus", theirs.read_text()).replace("15s", "1s"))
        script = script.replace(str(theirs), f"{config} --web.listen-address=127.0.0.1:{self.prometheus}")
        self.run("prometheus", ["sh", "-c", script])

    def stop(self) -> None:
        for process in self._made:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def stack(directory: Path) -> Iterator[Stack]:
    own = directory / "compose"
    own.mkdir(mode=0o711)
    # Roles are the whole server's, so this has one of its own.
    postgres = Postgres(own / "server", free_port(), durable=False)
    postgres.start()
    made = Stack(own, postgres)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        postgres.stop()


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{stack.pdm}", headers=KEY, timeout=patient(20), trust_env=False
    ) as made:

        def ready() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return made.get("/readyz").status_code == 200
            return False

        eventually(ready, 30, f"{stack.directory}/pdm.log to tell of a ready service")
        yield made


def test_a_name_is_published(stack: Stack, client: httpx.Client) -> None:
    """With these settings a name is reserved, committed, and answered for by PowerDNS with a signature."""
    (pool, *_) = environment("pdm")["PDM_POOL_DOMAINS"].split(",")
    label = name()
    held = client.post("/v1/reserve", json={"poolDomain": pool, "subdomain": label}).json()
    body = {"fqdn": held["fqdn"], "reservationToken": held["reservationToken"], "loadBalancerIP": "192.0.2.7"}
    assert client.post("/v1/commit", json=body).status_code in {200, 202}
    where = f"/v1/allocations/{held['fqdn']}"
    eventually(lambda: client.get(where).json()["dns"]["state"] == "published", 40, f"{where} to be published")
    asked = ["dig", "@127.0.0.1", "-p", str(stack.dns), "+short", "+dnssec", f"console.{held['fqdn']}", "A"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=patient(20)).stdout
    assert [line[:9] for line in sorted(answer.splitlines())] == ["192.0.2.7", "A 13 4 30"]


def test_keys_are_as_the_files_say(client: httpx.Client) -> None:
    """Nothing is open without a key, Prometheus's reads the metrics alone, and the keys are those that are told."""
    path = ROOT / mounts("pdm")[environment("pdm")["PDM_AUTH_TOKENS_FILE"]]
    remark, *lines = path.read_text().splitlines()
    told = re.findall(r"demo-[a-z-]+", remark)
    assert [json.loads(line)["sha256"] for line in lines] == [hashlib.sha256(key.encode()).hexdigest() for key in told]
    assert client.get("/v1/pools", headers={"Authorization": ""}).status_code == 401
    prometheus = {"Authorization": f"Bearer {told[1]}"}
    assert client.get("/metrics", headers=prometheus).status_code == 200
    assert client.get("/v1/pools", headers=prometheus).status_code == 403


def test_prometheus_scrapes_and_has_the_charts_rules(stack: Stack, client: httpx.Client) -> None:
    """Its start-up script makes a file of all the chart's rules, as they are there, and it sees the service."""
    try:
        find_program("prometheus")
    except ServerFailed as error:
        pytest.skip(str(error))
    stack.start_prometheus()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{stack.prometheus}/api/v1", timeout=patient(10), trust_env=False
    ) as asked:

        def scraped() -> bool:
            with contextlib.suppress(httpx.HTTPError, ValueError):
                found = asked.get("/query", params={"query": 'up{job="pool-domain-manager"}'}).json()["data"]["result"]
                return [one["value"][1] for one in found] == ["1"]
            return False

        eventually(scraped, 30, f"{stack.directory}/prometheus.log")
    # In a group, each as it is in its own file.
    made = yaml.safe_load((stack.directory / "rules.yml").read_text())
    assert made["groups"][0]["rules"] == [
        yaml.safe_load(path.read_text()) for path in sorted((CHART / "alerts").glob("*.yaml"))
    ]
    checked = ["promtool", "check", "config", str(stack.directory / "prometheus.yml")]
    subprocess.run(checked, check=True, capture_output=True, timeout=patient(30))
    healthy = SERVICES["prometheus"]["healthcheck"]["test"][-1].replace(":9090/", f":{stack.prometheus}/")
    eventually(lambda: httpx.get(healthy, trust_env=False).status_code == 200)


def test_checks_of_health_are_what_they_say(stack: Stack, client: httpx.Client) -> None:
    """The commands that compose.yaml asks PostgreSQL and PowerDNS with hold of the running servers."""
    ping = SERVICES["powerdns"]["healthcheck"]["test"][1:]
    ping = [find_program(ping[0]), *(word.replace("/tmp", str(stack.directory)) for word in ping[1:])]
    subprocess.run(ping, check=True, capture_output=True, timeout=patient(20))
    is_ready, *words = SERVICES["postgres"]["healthcheck"]["test"][1:]
    if (program := shutil.which(is_ready) or shutil.which(is_ready, path=wheel_programs())) is None:
        pytest.skip("there is no pg_isready on this machine")
    subprocess.run(
        [program, *words, f"--port={stack.postgres.port}"], check=True, capture_output=True, timeout=patient(20)
    )
