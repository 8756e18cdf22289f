"""A running service for tests: the real program, as a process, with its own database and pool domain."""

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from weakref import WeakSet

import asyncpg
import httpx

from adapters.all import OURS
from pdm_service.dev.process import start_child
from pdm_service.dev.servers import PowerDNS, free_port
from tests.eventually import eventually
from tests.patience import patient, patient_setting

T = TypeVar("T")
NAMESERVERS = ("ns1.platform.test", "ns2.platform.test")
ADDRESS = "192.0.2.10"
PDM = str(Path(sys.executable).parent / "pdm")


class Service:
    """One replica of the service."""

    made: ClassVar[WeakSet["Service"]] = WeakSet()

    def __init__(
        self,
        directory: Path,
        database_url: str,
        powerdns: PowerDNS,
        pool: str,
        *,
        trusting: ssl.SSLContext | None = None,
        **more: str,
    ) -> None:
        """With `trusting` it is asked over TLS, for which `more` has the settings."""
        self.pool = pool
        self.port = free_port()
        self.log = directory / f"pdm-{self.port}.log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PORT": str(self.port),
            "PDM_DATABASE_URL": database_url,
            "PDM_PDNS_BASE_URL": powerdns.api_url,
            "PDM_PDNS_API_KEY": powerdns.api_key,
            "PDM_POOL_DOMAINS": pool,
            "PDM_NAMESERVERS": ",".join(NAMESERVERS),
            "PDM_NAMESERVER_ADDRESSES": f"127.0.0.1:{powerdns.dns_port}",
            # No test ever asks a real registrar.
            **{f"PDM_REGISTRAR_{name.upper()}_URL": "http://127.0.0.1:9" for name in OURS},
            # Nor a real nameserver or registry.
            "PDM_DNS_ROOT_HINTS": "none",
            "PDM_RDAP_URL": "none",
            "PDM_LEASE": patient_setting(4),
            "PDM_LOG_LEVEL": "debug",
            **more,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.made.add(self)
        self.url = f"http{'s' if trusting else ''}://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=patient(20), trust_env=False, verify=trusting or True)

    def start(self, *, ready: bool = True) -> "Service":
        with self.log.open("ab") as log:
            self.process = start_child([PDM, "serve"], env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        if ready:
            eventually(self.is_ready, 20, f"{self.log} to tell of a ready service")
        return self

    def is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            msg = f"the service ended: {self.log.read_text()[-2000:]}"
            raise RuntimeError(msg)
        with contextlib.suppress(httpx.HTTPError):
            return self.client.get("/readyz").status_code == 200
        return False

    def pools_ready(self) -> bool:
        return all(one["state"] == "ready" for one in self.client.get("/v1/pools").json()["pools"])

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, seconds: float = 20) -> int:
        """SIGTERM; return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patient(seconds))

    def execute(self, statement: str) -> None:
        """Change the service's database behind its back, to have time pass."""

        async def run() -> None:
            connection = await asyncpg.connect(self.environment["PDM_DATABASE_URL"])
            await connection.execute(statement)
            await connection.close()

        asyncio.run(run())

    def told(self) -> tuple[str, str]:
        """What a failed test tells of it: its exit code, and the end of its log without the test's own questions."""
        ended = self.process.poll() if self.process else None
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        return f"{self.log}, exit code {ended}", "".join(line for line in lines if '"method":"GET"' not in line)[-6000:]

    def lines(self) -> list[dict[str, Any]]:
        """The log so far, one object a line."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    # --- the verbs, as a caller says them --------------------------------------------------------

    def reserve(self, label: str, **more: object) -> httpx.Response:
        headers = {"Idempotency-Key": str(more.pop("key"))} if "key" in more else {}
        body = {"poolDomain": self.pool, "subdomain": label, **more}
        return self.client.post("/v1/reserve", json=body, headers=headers)

    def commit(self, label: str, token: str, address: str = ADDRESS, **more: object) -> httpx.Response:
        body = {"fqdn": f"{label}.{self.pool}", "reservationToken": token, "loadBalancerIP": address, **more}
        return self.client.post("/v1/commit", json=body)

    def release(self, label: str, **more: object) -> httpx.Response:
        return self.client.post("/v1/release", json={"fqdn": f"{label}.{self.pool}", **more})

    def get(self, label: str) -> httpx.Response:
        return self.client.get(f"/v1/allocations/{label}.{self.pool}")

    def publish(self, label: str, address: str = ADDRESS) -> dict[str, Any]:
        """Reserve, commit and see it published."""
        token = self.reserve(label).json()["reservationToken"]
        reply = self.commit(label, token, address)
        assert reply.status_code in {200, 202}, reply.text
        self.published(label)
        return {**reply.json(), "reservationToken": token}

    def published(self, label: str, seconds: float = 15) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            body = self.get(label).json()
            return body if body.get("dns", {}).get("state") == "published" else None

        return eventually(look, seconds, f"{label} to be published")

    def gone(self, label: str, seconds: float = 15) -> None:
        eventually(lambda: self.get(label).status_code == 404, seconds, f"{label} to be gone")


def name(prefix: str = "n") -> str:
    """A label that nobody else has."""
    return prefix + uuid.uuid4().hex[:10]


def at_once(count: int, call: Callable[[int], T]) -> list[T]:
    """Run `call(i)` in `count` threads at the same time."""
    with ThreadPoolExecutor(count) as executor:
        return list(executor.map(call, range(count)))


@contextlib.contextmanager
def running(service: Service) -> Iterator[Service]:
    """Start a service, and end it whatever happens."""
    try:
        yield service.start()
    finally:
        service.kill()
        service.client.close()
