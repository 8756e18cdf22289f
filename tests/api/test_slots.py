"""A slow registrar and callers that give up: they use nothing up, in process and over HTTP."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.base import RegistrarError
from adapters.conformance.played import OLD, Server
from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.patience import patient
from tests.registrars import play
from tests.service import Service

SECONDS = 75.0
CALLERS = 40
SLOWEST = 1.2
SHORTEST, LONGEST = 0.35, 1.0
"""How long a caller waits before it gives up."""


@pytest.fixture(scope="module")
def registrar() -> Iterator[Server]:
    server = play("godaddy-key")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def service(
    directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, registrar: Server
) -> Iterator[Service]:
    yield from new_shared_service(directory, postgres, template, powerdns, PDM_REGISTRAR_GODADDY_URL=registrar.url)


def slow(server: Server, *_: Any) -> bool:
    """Answer as ever, but late."""
    server.over.wait(random.uniform(0, SLOWEST))
    return False


async def give_up_again_and_again(call: Callable[[float], Awaitable[object]]) -> None:
    """Have many callers ask, each again and again, who do not wait for long."""
    end = asyncio.get_running_loop().time() + SECONDS

    async def caller() -> None:
        while asyncio.get_running_loop().time() < end:
            seconds = random.uniform(SHORTEST, LONGEST)
            with suppress(RegistrarError, httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(seconds):
                    await call(seconds)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def test_slots_after_callers_that_gave_up(service: Service, registrar: Server) -> None:
    """After more than a minute of it eight requests at once are answered, with the adapter and with the service."""
    way_out = registrar.http()
    adapter = registrar.adapter(way_out)
    body = {"registrar": "godaddy", "domain": "example.com", "token": registrar.token}
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, limits=httpx.Limits()) as http:

        async def over_http(seconds: float) -> None:
            await http.post("/v1/validate", json=body, timeout=seconds)

        async def in_process(seconds: float) -> None:
            await adapter.validate(registrar.token, "example.com", within=seconds)

        registrar.fault(slow)
        await asyncio.gather(give_up_again_and_again(in_process), give_up_again_and_again(over_http))
    registrar.faults.clear()
    found = await asyncio.gather(
        *(adapter.get_nameservers(registrar.token, "example.com", within=patient(5)) for _ in range(8))
    )
    assert found == [OLD] * 8
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=patient(10)) as http:
        replies = await asyncio.gather(*(http.post("/v1/validate", json=body) for _ in range(8)))
    assert [reply.status_code for reply in replies] == [200] * 8, replies[0].text
    await way_out.close()
    assert registrar.wrong == []
