"""One running service for each file of API tests; every reply that it gives is held to the rules for all."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pdm_service.dev.servers import Postgres, PowerDNS
from tests.service import Service, running

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
TIMES = {"at", "reservedAt", "expiresAt", "committedAt", "updatedAt", "checkedAt", "repairedAt", "lookedAt"}


def new_shared_service(
    directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, **more: Any
) -> Iterator[Service]:
    """A running service with a database and a pool domain of its own, until the generator ends."""
    database = f"pdm_{uuid.uuid4().hex[:12]}"
    postgres.create_database(database, template=template)
    service = Service(directory, postgres.dsn(database), powerdns, f"p{uuid.uuid4().hex[:8]}.test", **more)
    service.client.event_hooks["response"] = [obeys_the_rules_for_all]
    with running(service):
        yield service
    postgres.drop_database(database)


@pytest.fixture(scope="module")
def service(directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS) -> Iterator[Service]:
    """The service that the tests of a file share."""
    yield from new_shared_service(directory, postgres, template, powerdns)


def obeys_the_rules_for_all(reply: httpx.Response) -> None:
    """Fail unless a reply has an id, holds no null, tells times with a Z, and tells errors as problems."""
    reply.read()
    assert reply.headers["x-request-id"]
    kind = reply.headers["content-type"]
    if reply.is_error and reply.request.url.path not in {"/healthz", "/readyz"}:
        assert kind == "application/problem+json"
        body = reply.json()
        more = {"supported"} if body["error"] == "unsupported-registrar" else set()
        assert {"error", "detail", "type", "title", "status"} | more == set(body) - {"suggestion"}, body
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", body["error"])
        assert body["status"] == reply.status_code
        assert body["detail"].strip()
        assert "Traceback" not in reply.text
    if kind.startswith("application/json"):
        _walk(reply.json())


def _walk(value: Any, name: str = "") -> None:
    # The one null of the contract: there is no way to find out.
    assert value is not None or name == "canSetNameservers", name
    if name in TIMES:
        assert TIME.fullmatch(value), value
    if isinstance(value, dict):
        for key, member in value.items():
            assert "_" not in key or "_" in name
            _walk(member, key)
    elif isinstance(value, list):
        for member in value:
            _walk(member)
