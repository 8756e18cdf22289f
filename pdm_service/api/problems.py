"""The one mapping from errors to RFC 9457 problems. An error that is not known goes to the log alone."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.plugins.problem_details import (
    ProblemDetailsConfig,
    ProblemDetailsException,
    ProblemDetailsPlugin,
)
from litestar.types import Send
from msgspec import Struct

from pdm_service.callers.gate import CHALLENGE
from pdm_service.errors import PdmError, PreflightBlocked, Unauthenticated, UnsupportedRegistrar
from pdm_service.wire import Problem

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_TYPES = "urn:pdm:problem:"
_WORDS = {
    400: ("invalid-body", "the body is not the JSON object that this route takes"),
    404: ("no-such-route", "there is no such route; /schema/openapi.json lists all"),
    405: ("method-not-allowed", "this route does not take that method"),
    413: ("payload-too-large", "a body may have 64 KiB at most"),
}


def problem(code: str, status: int, detail: str) -> Problem:
    """Return the body of an error reply."""
    return Problem(error=code, detail=detail, type=_TYPES + code, title=HTTPStatus(status).phrase, status=status)


def headers(error: PdmError) -> dict[str, str]:
    """Return the headers that an error wants."""
    found = {} if error.retry_after_seconds is None else {"Retry-After": str(error.retry_after_seconds)}
    return {**found, "WWW-Authenticate": CHALLENGE} if isinstance(error, Unauthenticated) else found


def _exception(body: Problem, more: Mapping[str, str]) -> ProblemDetailsException:
    return ProblemDetailsException(
        status_code=body.status,
        title=body.title,
        type_=body.type,
        detail=body.detail,
        extra={
            key: value
            for key, value in (
                ("error", body.error),
                ("supported", body.supported),
                ("problems", body.problems),
                ("suggestion", body.suggestion),
            )
            if value is not None
        },
        headers=dict(more),
    )


def _body(error: PdmError) -> Problem:
    body = problem(error.code, error.status, error.detail)
    body.suggestion = error.suggestion
    if isinstance(error, UnsupportedRegistrar):
        body.supported = list(error.supported)
    if isinstance(error, PreflightBlocked):
        body.problems = list(error.problems)
    return body


def _from_ours(error: PdmError) -> ProblemDetailsException:
    return _exception(_body(error), headers(error))


def _from_framework(error: HTTPException) -> ProblemDetailsException:
    status = error.status_code
    if isinstance(error, ValidationException):
        return _exception(_invalid(error), {})
    if status >= 500:
        return _from_unknown(error)
    code, detail = _WORDS.get(status, (HTTPStatus(status).phrase.lower().replace(" ", "-"), error.detail))
    return _exception(problem(code, status, detail), error.headers or {})


def _invalid(error: ValidationException) -> Problem:
    found = error.extra if isinstance(error.extra, list) else []
    in_query = any(isinstance(one, dict) and one.get("source") in {"query", "path", "header"} for one in found)
    # The messages name fields and types, never the values that were sent.
    if [one.get("message") for one in found if isinstance(one, dict)] == ["'data'"]:  # no body at all
        return problem(_WORDS[400][0], 400, _WORDS[400][1])
    found_wrong = [f"{_field(one.get('key'))}: {one.get('message')}" for one in found if isinstance(one, dict)]
    detail = "; ".join(found_wrong) or "the request is not of the form that this route takes"
    return problem("invalid-query" if in_query else "invalid-body", 400, detail)


def _field(key: object) -> object:
    """Return the name of a field as callers know it."""
    return {None: "body", "data": "body", "allocation_state": "state"}.get(key, key)  # type: ignore[call-overload]


def _from_undecodable(_: Exception) -> ProblemDetailsException:
    return _exception(problem(_WORDS[400][0], 400, _WORDS[400][1]), {})


def _from_unknown(error: Exception) -> ProblemDetailsException:
    _log.error("a request failed because of a defect", exc_info=error)
    return _exception(
        problem("internal-error", 500, "an unexpected failure; the service's log has it under the id of this request"),
        {},
    )


CALLED = (401, 403, 429)
"""What every route may answer that is not open to everybody."""


def documented(
    *statuses: int, late: type[Struct] | None = None, new: type[Struct] | None = None
) -> dict[int, ResponseSpec]:
    """Return what a route's document says of its refusals, and of its 201 and 202 if it has them."""
    found = {
        status: ResponseSpec(
            Problem, media_type=MEDIA_TYPE, description=HTTPStatus(status).phrase, generate_examples=False
        )
        for status in statuses
    }
    if new is not None:
        found[201] = ResponseSpec(new, description="Created", generate_examples=False)
    if late is not None:
        found[202] = ResponseSpec(late, description="Stored; DNS follows", generate_examples=False)
    return found


plugin = ProblemDetailsPlugin(
    ProblemDetailsConfig(
        exception_to_problem_detail_map={
            PdmError: _from_ours,
            HTTPException: _from_framework,
            # What the decoder raises for bytes that are not UTF-8, and for nesting without end.
            UnicodeDecodeError: _from_undecodable,
            RecursionError: _from_undecodable,
            Exception: _from_unknown,
        }
    )
)


def encoded(error: PdmError) -> bytes:
    """Return the body of an error reply, encoded, for what answers outside the framework."""
    return msgspec.json.encode(_body(error))


async def refuse(error: PdmError, send: Send) -> None:
    """Answer with an error, outside the framework."""
    content = encoded(error)
    found = {"content-type": MEDIA_TYPE, "content-length": str(len(content)), **headers(error)}
    head = [(name.lower().encode(), value.encode()) for name, value in found.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": head})
    await send({"type": "http.response.body", "body": content, "more_body": False})
