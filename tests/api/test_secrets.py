"""Secrets: none is found in the log, a metric, a reply, a table or the process list, whatever happens."""

import asyncio
import base64
import hashlib
import json
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from pdm_service.dev.servers import PowerDNS, free_port
from tests.certificates import Authority
from tests.eventually import eventually
from tests.patience import patient
from tests.service import ADDRESS, Service, name

PASSWORD = f"marked-db-{uuid.uuid4().hex}"


def dump(database_url: str) -> dict[str, str]:
    """All tables of a database, each row as text."""

    async def read() -> dict[str, str]:
        connection = await asyncpg.connect(database_url)
        try:
            tables = await connection.fetch(
                "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            )
            return {
                table["name"]: "\n".join(
                    row["line"] for row in await connection.fetch(f"SELECT t::text AS line FROM {table['name']} t")
                )
                for table in tables
            }
        finally:
            await connection.close()

    return asyncio.run(read())


def execute(database_url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.fixture
def account_url(database_url: str) -> Iterator[str]:
    """The test's database, by an account of its own whose password is marked."""
    role = f"r{uuid.uuid4().hex[:12]}"
    execute(
        database_url,
        f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD}'",
    )
    parts = urlsplit(database_url)
    yield parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()
    execute(
        database_url,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
        f"DROP ROLE {role}",
    )


def spellings(secret: str) -> list[str]:
    """A secret as it might be found: as it is, in hex, in base64."""
    raw = secret.encode()
    return [secret, raw.hex(), base64.b64encode(raw).decode().rstrip("="), secret.replace("-", "")]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def test_secrets_of_a_whole_life(new_service: Callable[..., Service], account_url: str, powerdns: PowerDNS) -> None:
    """After a life with all its failures no secret is anywhere but where it was given."""
    service = new_service(PDM_DATABASE_URL=account_url, PDM_LOG_LEVEL="debug").start()
    label, key, wrong = name(), f"marked-key-{uuid.uuid4().hex}", f"marked-wrong-{uuid.uuid4().hex}"
    fqdn = f"{label}.{service.pool}"
    replies: list[str] = []

    def did(status: int | set[int], reply: object) -> None:
        assert reply.status_code in (status if isinstance(status, set) else {status}), reply.text  # type: ignore[attr-defined]
        replies.append(f"{reply.text} {reply.headers}")  # type: ignore[attr-defined]

    held = service.reserve(label, key=key, createdBy="wizard")
    token = held.json()["reservationToken"]
    again = service.reserve(label, key=key, createdBy="wizard").json()["reservationToken"]
    did(422, service.reserve(label, key=key, createdBy="other"))
    did(409, service.reserve(label, key=wrong))
    did(403, service.commit(label, wrong))
    did(422, service.commit(label, token, "127.0.0.1"))
    did(400, service.client.post("/v1/commit", json={"fqdn": fqdn, "reservationToken": [token]}))
    did(
        400,
        service.client.post(
            "/v1/commit", content=f'{{"reservationToken": "{token}"', headers={"Content-Type": "application/json"}
        ),
    )
    did(415, service.client.post("/v1/commit", content=token, headers={"Content-Type": "text/plain"}))
    did(
        422, service.client.post("/v1/commit", json={"fqdn": wrong, "reservationToken": token, "loadBalancerIP": wrong})
    )
    did(200, service.client.post("/v1/renew", json={"fqdn": fqdn, "reservationToken": token}))
    did(200, service.commit(label, token))
    did(200, service.commit(label, again))
    did(409, service.commit(label, token, "192.0.2.77"))
    compat = name()
    second = service.client.post(
        f"/api/v1/pool/{service.pool}/reserve", json={"subdomain": compat}, headers={"Idempotency-Key": wrong}
    ).json()["reservationToken"]
    body = {"subdomain": compat, "reservationToken": second, "sovereignFQDN": "a.b", "loadBalancerIP": ADDRESS}
    did({200, 202}, service.client.post(f"/api/v1/pool/{service.pool}/commit", json=body))
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert digest in dump(account_url)["public.allocations"]
    tables = dump(account_url)
    did(403, service.release(label, reservationToken=wrong))
    did(200, service.release(label, reservationToken=token))
    did(404, service.commit(label, token))
    for path in (
        "/v1/allocations", f"/v1/allocations/{compat}.{service.pool}", f"/v1/allocations/{fqdn}/events",
        f"/v1/allocations/{compat}.{service.pool}/events", f"/api/v1/pool/{service.pool}/list", "/metrics", "/v1/pools",
        "/readyz", "/healthz", "/schema/openapi.json",
    ):  # fmt: skip
        did(200, service.client.get(path))
    assert service.process is not None
    replies.append(command_line(service.process.pid))
    service.stop()

    places = {"the log": service.log.read_text(), "a reply": "\n".join(replies)}
    places |= {f"{table}, while held": text for table, text in tables.items()}
    places |= {f"{table}, in the end": text for table, text in dump(account_url).items()}
    assert "publishing" in places["the log"]
    assert "released" in places["public.events, in the end"]
    secrets = {
        "the token": token, "the token again": again, "the second token": second, "the key": key,
        "what was wrong": wrong, "the database's password": PASSWORD, "PowerDNS's key": powerdns.api_key,
    }  # fmt: skip
    for what, secret in secrets.items():
        for spelled in spellings(secret):
            found = [
                place for place, text in places.items()
                if spelled in text and not (what == "what was wrong" and place == "a reply")
            ]  # fmt: skip
            assert found == [], f"{what} is in {found}"


def test_secrets_where_nothing_can_be_reached(
    new_service: Callable[..., Service], database_url: str, account_url: str
) -> None:
    """A service that reaches neither its database nor PowerDNS tells so without a secret."""
    service = new_service(PDM_DATABASE_URL=account_url, PDM_PDNS_BASE_URL=f"http://127.0.0.1:{free_port()}").start()
    label = name()
    token = service.reserve(label).json()["reservationToken"]
    assert service.commit(label, token).status_code == 202
    replies = [service.get(label).text]
    assert "lastError" in replies[0]
    role = urlsplit(account_url).username
    execute(
        database_url,
        f"ALTER ROLE {role} NOLOGIN PASSWORD 'another'",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
    )

    def unavailable() -> bool:
        reply = service.client.get("/v1/allocations")
        replies.append(reply.text)
        return reply.status_code == 503

    eventually(unavailable, 10)
    service.stop()
    for secret in (PASSWORD, token, service.environment["PDM_PDNS_API_KEY"]):
        assert secret not in service.log.read_text()
        assert secret not in "".join(replies)


def test_secrets_of_a_start_without_a_database(new_service: Callable[..., Service]) -> None:
    """A service that waits for its database does not say with which password."""
    url = f"postgresql://pdm:{PASSWORD}@127.0.0.1:{free_port()}/pdm"
    service = new_service(PDM_DATABASE_URL=url).start(ready=False)
    eventually(lambda: "waiting for the database" in service.log.read_text(), 10)
    assert service.process is not None
    assert PASSWORD not in command_line(service.process.pid)
    service.kill()
    assert PASSWORD not in service.log.read_text()
    assert "ConnectionRefusedError" in service.log.read_text()


def told_by(service: Service, *replies: httpx.Response) -> dict[str, str]:
    """All places where the service could tell something, by their names."""
    return {
        "the log": service.log.read_text(),
        "a reply": "\n".join(f"{one.text} {one.headers}" for one in replies),
        "the tables": "\n".join(dump(service.environment["PDM_DATABASE_URL"]).values()),
    }


def assert_nowhere(places: dict[str, str], secrets: dict[str, str]) -> None:
    for what, secret in secrets.items():
        for spelled in spellings(secret):
            found = [place for place, text in places.items() if spelled in text]
            assert found == [], f"{what} is in {found}"


def test_secrets_of_callers(new_service: Callable[..., Service], tmp_path: Path) -> None:
    """Keys of callers, right and wrong ones, and tokens of registrars are in no log, metric, reply or table."""
    key, wrong, token, pool_token = (f"marked-{kind}-{uuid.uuid4().hex}" for kind in ("key", "wrong", "token", "pool"))
    callers = tmp_path / "callers.jsonl"
    digest = hashlib.sha256(key.encode()).hexdigest()
    callers.write_text(json.dumps({"id": "alice", "sha256": digest, "scopes": ["allocate", "registrar", "metrics"]}))
    service = new_service(
        PDM_AUTH_TOKENS_FILE=str(callers), PDM_POOL_REGISTRAR="cloudflare", PDM_POOL_REGISTRAR_TOKEN=pool_token
    ).start()
    replies: list[httpx.Response] = []

    def asked(status: int, method: str, path: str, credential: str = f"Bearer {key}", **body: object) -> httpx.Response:
        more = {"json": body} if body else {}
        reply = service.client.request(method, path, headers={"Authorization": credential}, **more)  # type: ignore[arg-type]
        assert reply.status_code == status, reply.text
        replies.append(reply)
        return reply

    basic = base64.b64encode(f"alice:{wrong}".encode()).decode()
    for credential in (
        f"Bearer {wrong}",
        f"Basic {basic}",
        wrong,
        f"Digest {wrong}",
        f"Bearer {wrong}.{wrong}.{wrong}",
    ):
        asked(401, "GET", "/v1/allocations", credential)
    domain = f"{name()}.com"
    asked(502, "POST", "/v1/validate", registrar="cloudflare", domain=domain, token=token)
    asked(502, "POST", "/api/v1/registrar/cloudflare/validate", domain=domain, token=token)
    asked(400, "POST", "/v1/validate", registrar="cloudflare", domain=domain, token=[token])
    held = asked(201, "POST", "/v1/reserve", mode="byo-api", domain=domain).json()["reservationToken"]
    body = {"fqdn": domain, "reservationToken": held, "loadBalancerIP": ADDRESS}
    asked(502, "POST", "/v1/commit", registrar="cloudflare", registrarToken=token, **body)
    asked(404, "POST", "/v1/commit", registrar="nobody-s", registrarToken=token, **body)
    asked(200, "GET", "/metrics")
    eventually(lambda: "pool registration" in service.log.read_text(), 15, "the pool registrar to be asked")
    secrets = {"a key": key, "a wrong key": wrong, "a registrar's token": token, "the pool's": pool_token}
    assert_nowhere(told_by(service, *replies), secrets)
    places = told_by(service, *(one for one in replies if "reservationToken" not in one.text))
    assert_nowhere(places, {"the reservation's token": held})


def test_secrets_of_tls(new_service: Callable[..., Service], tmp_path: Path) -> None:
    """No part of a private key is told: not when it is used, renewed or broken, nor is a client's certificate."""
    authority = Authority(tmp_path / "authority")
    (cert, key), own = authority.pair("127.0.0.1"), authority.pair("alice.test")
    callers = tmp_path / "callers.jsonl"
    callers.write_text(json.dumps({"id": "alice", "certificate": "alice.test", "scopes": ["allocate", "metrics"]}))
    service = new_service(
        PDM_TLS_CERT_FILE=str(cert), PDM_TLS_KEY_FILE=str(key), PDM_TLS_CLIENT_CA_FILE=str(authority.file),
        PDM_AUTH_TOKENS_FILE=str(callers), trusting=authority.trusting(own),
    ).start()  # fmt: skip
    first = key.read_text()
    replies = [service.client.get("/v1/allocations"), service.client.get("/v1/events"), service.client.get("/metrics")]
    assert [one.status_code for one in replies] == [200, 403, 200]
    for broken in (authority.pair("127.0.0.1")[1].read_text(), first[:120], first.replace("M", "N", 1)):
        key.write_text(broken)
        before = service.log.read_text().count("file not usable")

        def noticed(before: int = before) -> bool:
            with httpx.Client(verify=authority.trusting(own), trust_env=False, timeout=patient(20)) as client:
                assert client.get(f"{service.url}/livez").status_code == 200
            return service.log.read_text().count("file not usable") > before

        eventually(noticed, 10)
    lines = {line for path in (key, own[1]) for line in path.read_text().splitlines()} | set(first.splitlines())
    secrets = {f"line {line[:4]}": line for line in lines if "-----" not in line and len(line) > 20}
    assert secrets
    assert_nowhere(told_by(service, *replies), secrets)


def test_crash(new_service: Callable[..., Service], account_url: str, powerdns: PowerDNS) -> None:
    """A process that dies amid its work says where, without what it held."""
    service = new_service(PDM_DATABASE_URL=account_url, PYTHONFAULTHANDLER="1").start()
    assert service.process is not None
    token = service.reserve(name()).json()["reservationToken"]
    service.process.send_signal(signal.SIGABRT)
    service.process.wait(patient(10))
    log = service.log.read_text()
    assert "Fatal Python error: Aborted" in log
    for secret in (PASSWORD, token, powerdns.api_key):
        assert secret not in log


def test_secrets_given_as_files(
    new_service: Callable[..., Service], account_url: str, powerdns: PowerDNS, tmp_path: Path
) -> None:
    """Secrets that are given as files are not in the process's environment, nor in its command line."""
    token = f"marked-pool-{uuid.uuid4().hex}"
    given = {"PDM_DATABASE_URL": account_url, "PDM_PDNS_API_KEY": powerdns.api_key, "PDM_POOL_REGISTRAR_TOKEN": token}
    for variable, secret in given.items():
        (tmp_path / variable).write_text(f"{secret}\n")
    service = new_service(PDM_POOL_REGISTRAR="cloudflare")
    for variable in given:
        service.environment.pop(variable, None)
        service.environment[f"{variable}_FILE"] = str(tmp_path / variable)
    service.start()
    assert service.process is not None
    for place in ("environ", "cmdline"):
        told = Path(f"/proc/{service.process.pid}/{place}").read_bytes().decode(errors="replace")
        assert "PDM_DATABASE_URL_FILE" in told or place == "cmdline"
        for secret in (PASSWORD, powerdns.api_key, token):
            assert secret not in told, place
