"""The Deployment of pool-domain-manager, run as it is rendered: its command, environment, files, user and root.

The program is the project's own; what the image holds is the business of the image's tests.
"""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from pdm_service.dev.postgres import with_connection
from pdm_service.dev.servers import Postgres, PowerDNS, account, free_port
from tests.charts.pod import Pod, needs_root
from tests.charts.rendered import ROOT, needs_helm, one, render
from tests.dns_view import records
from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS, name

PASSWORD = "p@ss:w/rd %?#$(PGHOST)'\""
DEFAULTS = ROOT / "charts" / "pool-domain-manager" / "ci" / "defaults-values.yaml"
CLUSTER = "pdm-pool-domain-manager-pg"
# Not the project's directory itself, which may be closed to other accounts.
IMAGE = (
    *(ROOT / part for part in (".venv", "pdm_service", "adapters", "migrations")),
    Path(os.path.realpath(sys.base_prefix)),
    Path("/etc/ssl"),
)
pytestmark = [needs_helm, needs_root]


def made_secrets(postgres: Postgres, powerdns: PowerDNS, authority: str) -> dict[str, dict[str, str]]:
    """The Secrets (and the cluster's ConfigMap) that the Deployment refers to."""
    line = {"id": "tests", "sha256": hashlib.sha256(b"the-key").hexdigest(), "scopes": ["admin"]}
    return {
        f"{CLUSTER}-app": {
            "host": f"{CLUSTER}-rw", "port": str(postgres.port), "dbname": "pdm", "username": "pdm", "password": PASSWORD,
        },
        f"{CLUSTER}-ca": {"ca.crt": authority},
        "pdm-powerdns": {"api-key": powerdns.api_key},
        "pdm-callers": {"callers": json.dumps(line)},
        "kube-root-ca.crt": {"ca.crt": authority},
    }  # fmt: skip


def helm_test(directory: Path, objects: list[dict[str, Any]]) -> Pod:
    """The pod of `helm test`, with the project's Python for the image's."""
    spec = one(objects, "Pod")["spec"]
    spec["containers"][0]["command"][0] = str(ROOT / ".venv" / "bin" / "python")
    return Pod(directory, spec, objects, {}, [one(objects, "Service")["metadata"]["name"]], IMAGE)


def port_is_free(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def tls_postgres(directory: Path) -> Iterator[tuple[Postgres, str]]:
    """A PostgreSQL as CloudNativePG leaves it: TLS with a CA of its own, a database `pdm` of the user `pdm`; and the CA."""
    place = directory / name("tls")
    server = Postgres(place, free_port(), durable=False)
    server.start()
    authority = trustme.CA()
    certificate = authority.issue_cert(f"{CLUSTER}-rw", f"{CLUSTER}-rw.pdm.svc")
    key, chain = place / "server.key", place / "server.crt"
    key.touch(0o600)
    key.write_bytes(certificate.private_key_pem.bytes())
    chain.write_bytes(certificate.cert_chain_pems[0].bytes())
    if (owner := account()) is not None:
        for path in (key, chain):
            os.chown(path, owner.uid, owner.gid)

    async def prepare(connection: Any) -> None:
        for statement in (
            f"ALTER SYSTEM SET ssl_key_file = '{key}'",
            f"ALTER SYSTEM SET ssl_cert_file = '{chain}'",
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
            f"CREATE ROLE pdm LOGIN PASSWORD '{PASSWORD.replace(chr(39), 2 * chr(39))}'",
            "CREATE DATABASE pdm OWNER pdm",
        ):
            await connection.execute(statement)

    with_connection(server.dsn(), prepare)
    yield server, authority.cert_pem.bytes().decode()
    server.stop()


@pytest.fixture
def client(usual_port: None) -> Iterator[httpx.Client]:
    port = one(render("pool-domain-manager", DEFAULTS), "Deployment")
    (declared,) = port["spec"]["template"]["spec"]["containers"][0]["ports"]
    if not port_is_free(declared["containerPort"]):
        pytest.skip(f"port {declared['containerPort']}, the container's, is taken on this machine")
    with httpx.Client(
        base_url=f"http://127.0.0.1:{declared['containerPort']}", timeout=patient(20), trust_env=False,
        headers={"Authorization": "Bearer the-key"},
    ) as made:  # fmt: skip
        yield made


def test_deployment_as_rendered(
    tls_postgres: tuple[Postgres, str], powerdns: PowerDNS, directory: Path, client: httpx.Client, pool: str
) -> None:
    """With nothing but what the Deployment says, the service serves a name, as its user, and is ended by SIGTERM."""
    postgres, authority = tls_postgres
    secrets = made_secrets(postgres, powerdns, authority)
    objects = render(
        "pool-domain-manager", DEFAULTS, poolDomains=[pool], powerdns__url=powerdns.api_url,
        nameserverAddresses=[f"127.0.0.1:{powerdns.dns_port}"], networkPolicy__internet=False,
        auth__tokenReview=True, namePolicy__toml='platform = ["intranet"]', timing__preStopSeconds=0,
        logLevel="debug",
    )  # fmt: skip
    spec = one(objects, "Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    # The image's entry point.
    container["command"] = [str(ROOT / ".venv" / "bin" / "pdm")]
    pod = Pod(directory, spec, objects, secrets, [f"{CLUSTER}-rw"], IMAGE)

    def answers(probe: str) -> bool:
        assert pod.runs, pod.says()
        what = container[probe]["httpGet"]
        try:
            return client.get(what["path"], timeout=patient(container[probe]["timeoutSeconds"])).status_code == 200
        except httpx.TransportError:
            return False

    pod.start()
    try:
        eventually(lambda: answers("startupProbe"), 40, str(pod.log))
        eventually(lambda: answers("readinessProbe"), 20, str(pod.log))
        assert answers("livenessProbe")
        status = Path(f"/proc/{pod.process.pid}/status").read_text() if pod.process else ""
        assert "Uid:\t65532\t65532\t65532\t65532" in status
        assert "CapBnd:\t0000000000000000" in status
        body = {"poolDomain": pool, "subdomain": "omantel"}
        assert (
            client.get("/v1/check", params={"poolDomain": pool, "subdomain": "intranet"}).json()["reason"] == "reserved"
        )
        eventually(lambda: client.get("/v1/pools").json()["pools"][0]["state"] == "ready", 20)
        held = client.post("/v1/reserve", json=body).json()
        body = {"fqdn": held["fqdn"], "reservationToken": held["reservationToken"], "loadBalancerIP": ADDRESS}
        assert client.post("/v1/commit", json=body).status_code == 200
        assert records(powerdns.dns_port, held["fqdn"], "A") == [ADDRESS]
        assert client.get("/v1/pools", headers={"Authorization": "Bearer other"}).status_code == 401
        assert '"ready":true' in helm_test(directory, objects).run()
        assert pod.stop(spec["terminationGracePeriodSeconds"]) == 0
        with pytest.raises(AssertionError, match="Connection refused"):
            helm_test(directory, objects).run()
        assert not [secret for secret in (PASSWORD, powerdns.api_key, "the-key") if secret in pod.says()]
    finally:
        pod.kill()


def test_another_ca_is_refused(
    tls_postgres: tuple[Postgres, str], powerdns: PowerDNS, directory: Path, client: httpx.Client, pool: str
) -> None:
    """A database with a certificate of somebody else's is not talked to."""
    postgres, _ = tls_postgres
    secrets = made_secrets(postgres, powerdns, trustme.CA().cert_pem.bytes().decode())
    objects = render("pool-domain-manager", DEFAULTS, poolDomains=[pool], powerdns__url=powerdns.api_url)
    spec = one(objects, "Deployment")["spec"]["template"]["spec"]
    spec["containers"][0]["command"] = [str(ROOT / ".venv" / "bin" / "pdm")]
    pod = Pod(directory, spec, objects, secrets, [f"{CLUSTER}-rw"], IMAGE).start()
    try:
        eventually(lambda: "SSLCertVerificationError" in pod.says(), 20, str(pod.log))
        with pytest.raises(httpx.TransportError):
            client.get("/livez")
    finally:
        pod.kill()
