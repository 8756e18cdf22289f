"""The operator's commands, against a running service; `pdm keys`; `pdm doctor`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path

import pytest

from pdm_service.names import policy
from tests.conftest import new_powerdns
from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS, PDM, Service, name


class Pdm:
    """The command, told where the service is."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.more: dict[str, str] = {}

    def __call__(self, *arguments: str, code: int = 0) -> str:
        environment = {"PATH": os.environ["PATH"], "PDM_URL": f"http://127.0.0.1:{self.service.port}", **self.more}
        found = subprocess.run([PDM, *arguments], env=environment, capture_output=True, text=True, timeout=patient(60))
        self.errors = found.stderr
        assert found.returncode == code, (found.stdout, found.stderr)
        return found.stdout

    def json(self, *arguments: str) -> dict:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def pdm(service: Service) -> Pdm:
    return Pdm(service)


def test_life_of_a_name(pdm: Pdm) -> None:
    """Check, reserve, commit, show, list, events, release: for people, and as JSON for programs."""
    fqdn = f"{name()}.{pdm.service.pool}"
    assert "free" in pdm("check", fqdn)
    held = pdm.json("reserve", fqdn, "--tenant", "acme", "--ttl", "600")
    assert "reserved-state" in pdm("check", fqdn, code=1)
    told = pdm("commit", fqdn, ADDRESS, "2001:db8::1", "--token", held["reservationToken"])
    assert "published" in told
    assert ADDRESS in told
    shown = pdm("show", fqdn)
    assert "acme" in shown
    assert held["reservationToken"] not in shown
    assert pdm.json("show", fqdn)["loadBalancerIPs"] == [ADDRESS, "2001:db8::1"]
    table = pdm("list", "--pool", pdm.service.pool, "--state", "active").splitlines()
    assert table[0].split() == ["name", "mode", "state", "dns", "addresses", "tenant", "reserved"]
    assert any(row.startswith(fqdn) for row in table)
    assert [one["action"] for one in json.loads(pdm("events", fqdn, "--json"))][:2] == ["reserved", "committed"]
    assert "committed" in pdm("events", fqdn)
    assert pdm.json("release", fqdn)["fqdn"] == fqdn
    eventually(lambda: pdm.service.client.get(f"/v1/allocations/{fqdn}").status_code == 404, 15)
    pdm("show", fqdn, code=1)
    assert pdm.errors.startswith("not-found: ")


def test_domain_of_ones_own(pdm: Pdm) -> None:
    """A claim shows the record that proves it; a delegation that cannot be looked at, and a registrar, say why."""
    domain = f"{name()}.zz"
    assert "_openova-challenge" in pdm("reserve", domain, "--mode", "byo-manual")
    pdm("validate", "nobody", domain, "--token", "x", code=1)
    assert pdm.errors.startswith("unsupported-registrar: ")
    pdm("validate", "cloudflare", domain, "--token", "a-marked-token", code=1)
    assert "a-marked-token" not in pdm.errors
    pdm("delegation", domain)


def test_service_away(pdm: Pdm) -> None:
    """A service that cannot be reached is told in one line."""
    pdm.more = {"PDM_URL": "http://127.0.0.1:9"}
    pdm("validate", "dynadot", "x.zz", "--token", "x", code=1)
    assert pdm.errors.startswith("service-unreachable: ")
    assert len(pdm.errors.splitlines()) == 1


def test_key_that_is_made_works(new_service: Callable[..., Service], tmp_path: Path) -> None:
    """A made key opens what it was made for; the file has its digest alone."""
    made = subprocess.run(
        [PDM, "keys", "new", "--id", "ops", "--scope", "allocate", "--scope", "check", "--days", "30", "--names", "3"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    key = made.stderr.rpartition(" ")[2].strip()
    assert key.startswith("pdm_")
    assert key not in made.stdout
    (tmp_path / "callers").write_text(made.stdout)
    service = new_service(PDM_AUTH_TOKENS_FILE=str(tmp_path / "callers")).start()
    pdm = Pdm(service)
    pdm("list", code=1)
    assert pdm.errors.startswith("unauthenticated: ")
    (tmp_path / "key").write_text(key + "\n")
    for more in ({"PDM_KEY": key}, {"PDM_KEY_FILE": str(tmp_path / "key")}, {"PDM_KEY": key, "PDM_CLIENT_ID": "ops"}):
        pdm.more = more
        pdm("list")
    refused = subprocess.run(
        [PDM, "keys", "new", "--id", "no good", "--scope", "check"], capture_output=True, text=True
    )
    assert refused.returncode == 1


def test_key_of_a_brand() -> None:
    """The entry for the name policy is what the policy reads, and opens the brand."""
    made = subprocess.run(
        [PDM, "keys", "brand", "--word", "omantel", "--client", "a"], capture_output=True, text=True, check=True
    )
    key = made.stderr.rpartition(" ")[2].strip()
    found = policy.read(made.stdout)
    assert found.refuses("my-omantel", "a", key) is None
    assert found.refuses("my-omantel", "b", key)
    assert found.refuses("my-omantel", "a", None)


# --- doctor -----------------------------------------------------------------------------------------


def examined(service: Service, code: int, **more: str) -> dict[str, dict[str, str]]:
    found = subprocess.run(
        [PDM, "doctor", "--json"],
        env={**service.environment, **more},
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    assert found.returncode == code, (found.stdout, found.stderr)
    assert "test-api-key" not in found.stdout + found.stderr
    return {one["what"]: one for one in json.loads(found.stdout)}


def test_doctor_in_good_order(service: Service) -> None:
    """Where everything works, each dependency is told as such."""
    found = examined(service, 0)
    assert {what for what, one in found.items() if one["verdict"] == "ok"} >= {
        "database", "schema", "PowerDNS", f"pool zone {service.pool}", "nameserver 127.0.0.1"
    }  # fmt: skip
    assert found["pool registrar"]["verdict"] == "warn"
    text = subprocess.run([PDM, "doctor"], env=service.environment, capture_output=True, text=True, check=True).stdout
    assert "ok    database: PostgreSQL" in text


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"PDM_DATABASE_URL": "postgresql://pdm:marked@127.0.0.1:9/x"}, "database"),
        ({"PDM_PDNS_BASE_URL": "http://127.0.0.1:9"}, "PowerDNS"),
        ({"PDM_PDNS_API_KEY": "wrong"}, "PowerDNS"),
        ({"PDM_NAMESERVER_ADDRESSES": "127.0.0.1:9"}, "nameserver 127.0.0.1"),
        ({"PDM_POOL_REGISTRAR": "dynadot", "PDM_POOL_REGISTRAR_TOKEN": "marked"}, "registrar"),
        ({"PDM_KUBERNETES_URL": "http://127.0.0.1:9"}, "TokenReview"),
    ],
)
def test_doctor_finds_what_does_not_work(service: Service, change: dict[str, str], what: str) -> None:
    """What does not work is found, with what to do about it; no secret is told."""
    found = examined(service, 1, **change)
    wrong = [one for one in found.values() if one["verdict"] == "fail"]
    assert wrong
    assert all(one["what"].startswith(what) and one["remedy"] for one in wrong), wrong
    assert "marked" not in json.dumps(found)


def test_doctor_before_the_first_start(service: Service) -> None:
    """A pool zone that is not there yet is no failure: the service makes it. Nothing is made by looking."""
    found = examined(service, 1, PDM_POOL_DOMAINS="unmade.test")
    assert found["pool zone unmade.test"]["verdict"] == "warn"
    assert found["nameserver 127.0.0.1"]["found"] == "is not authoritative for unmade.test"


def test_doctor_names_a_setting_of_powerdns(directory: Path, postgres, service: Service) -> None:
    """A setting of PowerDNS that does harm is named, with the value that it should have."""
    server = new_powerdns(directory, postgres, caches=True)
    try:
        found = examined(service, 0, PDM_PDNS_BASE_URL=server.api_url, PDM_PDNS_API_KEY=server.api_key)
        assert "zone-cache-refresh-interval=0" in found["PowerDNS zone-cache-refresh-interval"]["remedy"]
    finally:
        server.stop()


# --- what a provisioner installs ----------------------------------------------------------------------


def test_client_without_the_servers_libraries() -> None:
    """The client and its commands load with the dependencies that are not the server's; a server's command says so."""
    extra = [one for one in requires("pool-domain-manager") or [] if "server" in one.partition("extra ==")[2]]
    modules = {
        "alembic", "asyncpg", "defusedxml", "dns", "greenlet", "httptools", "litestar", "opentelemetry",
        "prometheus_client", "publicsuffixlist", "sqlalchemy", "uvicorn", "uvloop",
    }  # fmt: skip
    assert len(extra) == len(modules) + 1  # OpenTelemetry's are two
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {modules!r}:
            raise ModuleNotFoundError(f'no {{name}}', name=name.partition('.')[0])
sys.meta_path.insert(0, Absent())
import pdm_service.client
from pdm_service.cli import main
main(sys.argv[1:])
"""
    for arguments, code, said in (
        (["--help"], 0, "provision"), (["provision", "--help"], 0, "--ip-file"), (["list", "--help"], 0, "--pool"),
        (["keys", "new", "--help"], 0, "--scope"), (["serve"], 1, "pool-domain-manager[server]"),
        (["registrars"], 1, "pool-domain-manager[server]"),
    ):  # fmt: skip
        found = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
        assert found.returncode == code, found.stderr
        assert said in found.stdout + found.stderr
