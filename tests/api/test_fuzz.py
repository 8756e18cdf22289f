"""Fuzzing: requests made from the service's own document, well-formed and not, over real HTTP."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction, load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.patience import patient
from tests.service import ADDRESS, Service, name

EXAMPLES = 20
BOUNDED = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    """The service's own document."""
    load_all_checks()
    return service.client.get("/schema/openapi.json").json()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """One connection for many requests; no proxy stands between."""
    with requests.Session() as found:
        found.trust_env = False
        yield found


def narrowed(document: dict[str, Any], service: Service) -> dict[str, Any]:
    """The document with values that get past the first look: the pool domain, possible labels, names that exist."""
    token = service.reserve(held := name()).json()["reservationToken"]
    service.publish(active := name())
    label = {"type": "string", "enum": [held, active, *(name() for _ in range(5)), "www", "a_b", f" {held.upper()}."]}
    fqdn = {"type": "string", "enum": [f"{one}.{service.pool}" for one in (held, active, name())] + claimed(service)}
    pool = {"type": "string", "enum": [service.pool, service.pool.upper() + "."]}
    own = {"type": "string", "enum": [service.pool, f"{name()}.zz", "co.uk"]}
    addresses = {"type": "string", "enum": [ADDRESS, "2001:db8::1", "127.0.0.1", "x"]}
    better: dict[str, Any] = {
        "poolDomain": pool, "domain": own, "subdomain": label, "sub": label, "fqdn": fqdn,
        "reservationToken": {"type": "string", "enum": [token, "x"]},
        "loadBalancerIP": addresses,
        "loadBalancerIPs": {"type": "array", "minItems": 1, "maxItems": 3, "items": addresses},
        "sovereignFQDN": fqdn,
        "createdBy": {"type": "string", "enum": ["wizard", "", "{x}"]},
        "ttlSeconds": {"type": "integer", "minimum": -1, "maximum": 700_000},
    }  # fmt: skip
    found = copy.deepcopy(document)
    for schema in found["components"]["schemas"].values():
        if schema.get("title", "").endswith("Request"):
            schema["additionalProperties"] = False
            if "fqdn" in schema["properties"]:
                schema["properties"].pop("poolDomain", None)
                schema["properties"].pop("subdomain", None)
                schema["required"] = sorted({*schema.get("required", []), "fqdn"})
            schema["properties"] |= {key: better[key] for key in schema["properties"].keys() & better.keys()}
    for operations in found["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in better:
                    parameter["schema"] = better[parameter["name"]]
    return found


def claimed(service: Service) -> list[str]:
    """A domain of a customer's that is claimed, and one that is not."""
    domains = [f"{name()}.zz", f"{name()}.zz"]
    service.client.post("/v1/reserve", json={"mode": "byo-manual", "domain": domains[0]}).raise_for_status()
    return domains


def failures(
    document: dict[str, Any],
    service: Service,
    mode: GenerationMode,
    check: Callable[[Case, requests.Session], None],
    session: requests.Session,
) -> list[str]:
    """Send a bounded number of generated requests to every operation; return what failed, one line each."""
    found, operations = [], 0
    schema = schemathesis.openapi.from_dict(document)
    for result in schema.get_all_operations():
        operation = result.ok()
        operations += 1
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            continue

        @hypothesis.settings(BOUNDED)
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def attempt(case: Case) -> None:
            check(case, session)

        try:
            attempt()
        except hypothesis.errors.Unsatisfiable:
            continue
        except Exception as error:
            found.append(f"{operation.label}: {str(error)[:600]}")
    assert operations >= 20
    assert service.client.get("/readyz").status_code == 200
    return found


def checked(service: Service, *checks: CheckFunction) -> Callable[[Case, requests.Session], None]:
    base = f"http://127.0.0.1:{service.port}"
    return lambda case, session: (
        case.call_and_validate(base_url=base, session=session, checks=list(checks), timeout=patient(15)) and None
    )


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_requests_of_the_document(
    service: Service, document: dict[str, Any], session: requests.Session, mode: GenerationMode
) -> None:
    """Whatever fits the document, or breaks it in one place, is never a failure of the service."""
    assert failures(document, service, mode, checked(service, not_a_server_error), session) == []


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_requests_for_names_that_exist(
    service: Service, document: dict[str, Any], session: requests.Session, mode: GenerationMode
) -> None:
    """Also where names exist and tokens fit, no order of requests is a failure of the service."""
    narrow = narrowed(document, service)
    assert failures(narrow, service, mode, checked(service, not_a_server_error), session) == []


def test_replies_as_the_document_says(service: Service, document: dict[str, Any], session: requests.Session) -> None:
    """A reply of a status that the document tells of has the body that it tells of."""
    narrow = narrowed(document, service)
    check = checked(service, not_a_server_error, response_schema_conformance)
    assert failures(narrow, service, GenerationMode.POSITIVE, check, session) == []
