"""Secrets in memory: no object of ours shows one where it is printed, nor does a variable that holds one of the settings."""

import gc
import importlib
import pkgutil
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

import pdm_service
from pdm_service import parts
from pdm_service.client import Client, Unreachable
from pdm_service.dev.servers import free_port
from pdm_service.names.policy import Brand
from pdm_service.powerdns import PowerDns, Unavailable
from pdm_service.settings import read
from pdm_service.store.database import Database
from pdm_service.store.migrate import DatabaseAway, migrate

SECRETS = {
    "PDM_DATABASE_URL": "postgresql://pdm:marked-password@127.0.0.1:1/pdm",
    "PDM_PDNS_API_KEY": "marked-api-key",
    "PDM_POOL_REGISTRAR_TOKEN": "marked-registrar-token",
}
ENVIRONMENT = {**SECRETS, "PDM_PDNS_BASE_URL": "http://127.0.0.1:1", "PDM_POOL_REGISTRAR": "cloudflare"}
# What holds other things, or is the secret itself: what it shows is what it was given.
PLAIN = (str, bytes, dict, list, tuple, set, frozenset, types.ModuleType, types.FrameType, types.CodeType)


def reached(root: object) -> Iterator[object]:
    """All objects that hang on one, but not the modules and types that they are made by."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        one = waiting.pop()
        yield one
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, type | types.ModuleType):
                seen.add(id(other))
                waiting.append(other)


async def test_objects_of_the_service() -> None:
    """No part of the service shows a secret, nor anything that hangs on it; the fields that hold one neither."""
    built = parts.build(read(ENVIRONMENT))
    await built.store.callers.open()
    await built.outside.powerdns._client(None).aclose()  # it is made by then
    mine = [
        one
        for one in reached(built)
        if type(one).__module__.partition(".")[0] in {"pdm_service", "adapters", "httpx", "asyncpg"}
        # What plays registrars for other tests in this process is no part of the service.
        and not type(one).__module__.startswith("adapters.conformance")
    ]
    kinds = {type(one) for one in mine}
    assert {parts.Parts, Database, PowerDns, httpx.AsyncClient, asyncpg.Pool} <= kinds
    for one in mine:
        assert "marked" not in repr(one), type(one)
        if type(one).__module__.startswith(("pdm_service", "adapters")) and hasattr(one, "__dict__"):
            assert "marked" not in repr(vars(one)), type(one)


def structs() -> list[type[msgspec.Struct]]:
    """All structs of the package."""
    for module in pkgutil.walk_packages(pdm_service.__path__, "pdm_service."):
        if not module.name.startswith(("pdm_service.dev", "pdm_service.__main__")):
            importlib.import_module(module.name)
    found, waiting = [], [msgspec.Struct]
    while waiting:
        kinds = waiting.pop().__subclasses__()
        waiting += kinds
        found += [one for one in kinds if one.__module__.startswith("pdm_service.")]
    # The key of a brand is the digest of one.
    return [one for one in found if one is not Brand]


SECRET_FIELDS = {
    "reservation_token", "registrar_token", "token", "secret", "token_digest", "token_nonce", "pdns_api_key",
    "database_url", "pool_registrar_token", "idempotency_digest", "key",
}  # fmt: skip


@pytest.mark.parametrize("kind", [one for one in structs() if SECRET_FIELDS & set(one.__struct_fields__)])
def test_structs_with_a_secret(kind: type[msgspec.Struct]) -> None:
    """A value that holds a token or key does not show it: neither a request, nor what is made of it, nor a reply."""
    values: dict[str, Any] = dict.fromkeys(kind.__struct_fields__, None)
    values |= dict.fromkeys(SECRET_FIELDS & set(values), "marked")
    values |= {"allocation": types.SimpleNamespace(fqdn="a.test")} if "allocation" in values else {}
    assert "marked" not in repr(kind(**values))


def test_structs_are_found() -> None:
    """The list above has the bodies of requests, what is made of them, and the replies."""
    names = {one.__name__ for one in structs() if SECRET_FIELDS & set(one.__struct_fields__)}
    assert names >= {
        "CommitRequest", "CompatCommitRequest", "ValidateRequest", "Commit", "Registrar", "Order", "Held", "Credentials",
        "AllocationReply", "CompatReservation", "Terms", "Settings", "Saved",
    }  # fmt: skip


def dumped(error: BaseException) -> str:
    """What a report of a crash shows that prints variables: ours at each step, not those within libraries."""
    found, here = [], Path(pdm_service.__file__).parents[1]
    following: BaseException | None = error
    while following is not None:
        for frame, _ in traceback.walk_tb(following.__traceback__):
            place = Path(frame.f_code.co_filename)
            if place.is_relative_to(here / "pdm_service") or place.is_relative_to(here / "adapters"):
                found += [f"{frame.f_code.co_name}: {name} = {value!r}" for name, value in frame.f_locals.items()]
        found.append("".join(traceback.format_exception(following)))
        following = following.__context__
    return "\n".join(found)


async def test_variables_where_powerdns_is_away() -> None:
    """A dump of a failed call has neither key nor header."""
    settings = read(ENVIRONMENT)
    client = PowerDns(settings.pdns_base_url, settings.pdns_api_key, "localhost", 1, lambda *_: None)
    with pytest.raises(Unavailable) as told:
        await client.version()
    await client.close()
    assert "_call: self = " in dumped(told.value)
    assert "marked" not in dumped(told.value)


async def test_variables_where_the_database_is_away() -> None:
    """A dump of a failed start has no password."""
    with pytest.raises(DatabaseAway) as told:
        await migrate(read(ENVIRONMENT).database_url)
    assert "migrate: database_url = Secret()" in dumped(told.value)
    assert "marked" not in dumped(told.value)


async def test_objects_of_a_client() -> None:
    """A client shows no key, sent as Bearer or as Basic."""
    for more in ({}, {"client_id": "alice"}):
        client = Client(f"http://127.0.0.1:{free_port()}", key="marked-key", retry_seconds=0, **more)  # type: ignore[arg-type]
        async with client:
            for one in reached(client):
                if not isinstance(one, PLAIN) and type(one).__module__.partition(".")[0] in {"pdm_service", "httpx"}:
                    assert "marked" not in repr(one), type(one)
            with pytest.raises(Unreachable) as told:
                await client.pools()
        assert "marked" not in dumped(told.value)
