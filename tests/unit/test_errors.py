"""Errors: a closed tree with stable codes, and the one mapping from it to replies."""

import inspect
import re
from collections.abc import Iterator

import msgspec
import pytest
from litestar import Litestar, get
from litestar.exceptions import HTTPException, ImproperlyConfiguredException, NotAuthorizedException
from litestar.params import FromPath
from litestar.testing import TestClient

from pdm_service import errors
from pdm_service.api import problems
from pdm_service.errors import PdmError

CLASSES = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, PdmError) and one not in {PdmError, errors.RegistrarFailure}
]
CONTRACT = {
    "invalid-body": 400, "token-mismatch": 403, "not-found": 404, "conflict": 409, "already-active": 409,
    "overlaps-allocation": 409, "reservation-expired": 410, "invalid-format": 422, "reserved-name": 422,
    "unsupported-pool": 422, "invalid-address": 422, "missing-lb-ip": 422, "idempotency-key-reused": 422,
    "store-unavailable": 503, "unsupported-registrar": 404, "missing-domain": 422, "missing-token": 422,
    "missing-nameservers": 422, "invalid-token": 401, "domain-not-in-account": 403, "insufficient-scope": 403,
    "rate-limited": 429, "api-unavailable": 502, "account-not-eligible": 403, "ip-not-allowed": 403,
    "ns-managed-by-registrar": 409, "registry-locked": 409,
}  # fmt: skip
SECRET = "marked: postgresql://pdm:hunter2@db/pdm"


class Odd(Exception):
    """An exception that nobody knows."""


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    """An application whose routes raise, with the service's mapping of errors."""

    @get("/known/{name:str}")
    async def known(name: FromPath[str]) -> None:
        raise getattr(errors, name)(f"a sentence about {name}")

    @get("/unknown/{number:int}")
    async def unknown(number: FromPath[int]) -> None:
        kinds = (Odd, ValueError, KeyError, OSError, HTTPException, ImproperlyConfiguredException, ExceptionGroup)
        kind = kinds[number]
        if kind is ExceptionGroup:
            raise ExceptionGroup(SECRET, [ValueError(SECRET)])
        raise kind(SECRET)

    @get("/framework")
    async def framework() -> None:
        raise NotAuthorizedException

    app = Litestar([known, unknown, framework], plugins=[problems.plugin], logging_config=None, openapi_config=None)
    with TestClient(app, raise_server_exceptions=False) as found:
        yield found


@pytest.mark.parametrize("kind", CLASSES)
def test_class_has_code_and_status(kind: type[PdmError]) -> None:
    """Every error has a kebab-case code, a status of its own that is an error's, and a sentence about itself."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code)
    assert 400 <= kind.status < 600
    assert kind.__doc__
    assert kind("told").detail == "told"


def test_codes_unique() -> None:
    """No two errors have one code."""
    assert len({kind.code for kind in CLASSES}) == len(CLASSES)


def test_codes_of_the_contract() -> None:
    """The codes and statuses of the contract are there."""
    assert CONTRACT.items() <= {kind.code: kind.status for kind in CLASSES}.items()


def test_tree_in_the_docstring() -> None:
    """The tree drawn in the module's docstring is the tree of the classes, with status and code."""
    drawn = set(re.findall(r"(?:├──|└──) (\w+) (\d+) +([a-z-]+)", errors.__doc__ or ""))
    assert drawn == {(kind.__name__, str(kind.status), kind.code) for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES)
def test_problem_of_a_known_error(client: TestClient[Litestar], kind: type[PdmError]) -> None:
    """A known error becomes an RFC 9457 problem with the code in `error` and its own sentence in `detail`."""
    reply = client.get(f"/known/{kind.__name__}")
    assert reply.status_code == kind.status
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    more = {errors.UnsupportedRegistrar: {"supported"}, errors.PreflightBlocked: {"problems"}}.get(kind, set())
    assert set(body) == {"type", "title", "status", "detail", "error"} | more
    assert body["error"] == kind.code
    assert body["status"] == kind.status
    assert body["detail"] == f"a sentence about {kind.__name__}"
    assert body["type"].endswith(kind.code)
    assert body["title"]
    assert body == msgspec.json.decode(problems.encoded(kind(f"a sentence about {kind.__name__}")))


@pytest.mark.parametrize("kind", CLASSES)
def test_retry_after_of_what_may_be_retried(client: TestClient[Litestar], kind: type[PdmError]) -> None:
    """A 503 says when to come again, and other errors only if they have something to say."""
    told = client.get(f"/known/{kind.__name__}").headers.get("retry-after")
    assert (told is not None) == (kind.retry_after_seconds is not None)
    if kind.status == 503:
        assert int(told or 0) > 0


@pytest.mark.parametrize("number", range(7))
def test_problem_of_an_unknown_error(client: TestClient[Litestar], number: int) -> None:
    """Of an exception that nobody knows the caller hears that it happened, and not a word of its text."""
    reply = client.get(f"/unknown/{number}")
    assert reply.status_code == 500
    assert set(reply.json()) == {"type", "title", "status", "detail", "error"}
    assert reply.json()["error"] == "internal-error"
    for word in ("marked", "hunter2", "Odd", "Traceback", ".py"):
        assert word not in reply.text
        assert word not in str(reply.headers)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "no-such-route"),
        ("POST", "/framework", 405, "method-not-allowed"),
        ("GET", "/framework", 401, "unauthorized"),
        ("GET", "/unknown/x", 404, "no-such-route"),
    ],
)
def test_problem_of_the_framework(client: TestClient[Litestar], method: str, path: str, status: int, code: str) -> None:
    """Also what the framework refuses is a problem with a code."""
    reply = client.request(method, path)
    assert (reply.status_code, reply.json()["error"], reply.json()["status"]) == (status, code, status)
    assert reply.json()["detail"]
    assert reply.headers["content-type"] == "application/problem+json"
