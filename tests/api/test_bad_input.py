"""Bad input: whatever is sent, the answer is a 4xx that says why, and nothing is changed."""

import json
import socket
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.patience import patient
from tests.service import ADDRESS, Service, name

JSON = "application/json"
LIMIT = 64 * 1024
NAMED = {"fqdn": "x.POOL", "reservationToken": "x"}
ROUTES: dict[str, tuple[str, dict[str, object]]] = {
    "/v1/reserve": ("POST", {"poolDomain": "POOL", "subdomain": "LABEL", "createdBy": "x", "ttlSeconds": 60}),
    "/v1/renew": ("POST", {**NAMED, "ttlSeconds": 60}),
    "/v1/commit": (
        "POST",
        {**NAMED, "loadBalancerIP": ADDRESS, "loadBalancerIPs": [ADDRESS], "sovereignFQDN": "a.b"},
    ),
    "/v1/release": ("POST", NAMED),
    "/api/v1/pool/POOL/reserve": ("POST", {"subdomain": "LABEL", "createdBy": "x"}),
    "/api/v1/pool/POOL/commit": (
        "POST",
        {"subdomain": "LABEL", "reservationToken": "x", "sovereignFQDN": "a.b", "loadBalancerIP": ADDRESS},
    ),
    "/api/v1/pool/POOL/release": ("DELETE", {"subdomain": "LABEL"}),
}
BODIES: dict[str, bytes] = {
    "no JSON": b"subdomain=acme",
    "cut off": b'{"subdomain": "ac',
    "two values": b"{} {}",
    "an array": b"[]",
    "an array of objects": b"[{}]",
    "a number": b"7",
    "a text": b'"acme"',
    "null": b"null",
    "true": b"true",
    "NaN": b'{"subdomain": NaN}',
    "deep arrays": b"[" * 60_000,
    "deep objects": b'{"subdomain":' * 4_000,
    "deep in a field": b'{"subdomain":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep in an unknown field": b'{"colour":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "no UTF-8": b'{"subdomain": "\xff\xfe"}',
    "cut UTF-8": b'{"subdomain": "\xe2\x82"}',
    "surrogates in UTF-8": b'{"subdomain": "\xed\xa0\x80"}',
    "lone surrogates": b'{"subdomain": "\\ud800", "poolDomain": "\\udfff"}',
    "NUL": b"\x00",
    "UTF-16": '{"subdomain": "a"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"subdomain": "a_b"}',
    "blanks": b" \t\r\n",
    "a key that is NUL": b'{"\\u0000": 1}',
}
VALUES: list[object] = [
    1, -1, 10**30, 1.5, True, [], {}, ["a"], {"a": 1}, [[]], [None], "", "\x00", "a\x00b", "x" * 60_000, "\u202e", "${x}",
    "' OR 1=1 --", "../../etc/passwd", "%s%n", "\U0001f600",
]  # fmt: skip
NASTY = [
    "%00", "%FF", "%C0%AF", "%ED%A0%80", "%F0%9F%98%80", "%0D%0AX-Injected:%201", "..%2F..%2Fetc", "%25s", "%", "%zz",
    "' OR 1=1 --", "a" * 8_000, "%2E%2E", "xn--%C3%BC", "*", "@", "{x}", "$%7Bx%7D", "null", "-1", "1e999", "%E2%80%AE",
    "%7F", "<script>",
]  # fmt: skip


def filled(text: str, service: Service, label: str) -> str:
    return text.replace("POOL", service.pool).replace("LABEL", label)


def send(service: Service, path: str, content: bytes, kind: str | None = JSON) -> httpx.Response:
    headers = {} if kind is None else {"Content-Type": kind}
    return service.client.request(ROUTES[path][0], filled(path, service, "x"), content=content, headers=headers)


def allocations(service: Service) -> list[dict[str, Any]]:
    reply = service.client.get("/v1/allocations", params={"limit": 500})
    assert reply.status_code == 200
    return reply.json()["allocations"]


def is_refused(reply: httpx.Response) -> None:
    """Fail unless it is a 4xx with a code and a sentence (the shared service's rules look at the rest)."""
    assert 400 <= reply.status_code < 500, (reply.status_code, reply.text[:300])
    assert reply.json()["error"]
    assert reply.json()["detail"]


@pytest.fixture(scope="module", autouse=True)
def _nothing_changed(service: Service) -> Any:
    """All that is sent here changes nothing."""
    held = service.reserve(name(), createdBy="before").json()
    token = service.reserve(held["subdomain"] + "b").json()["reservationToken"]
    service.commit(held["subdomain"] + "b", token)
    service.published(held["subdomain"] + "b")
    before = allocations(service)
    yield
    assert allocations(service) == before
    assert service.process is not None
    assert service.process.poll() is None


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", BODIES)
def test_body_that_is_no_request(service: Service, path: str, body: str) -> None:
    """A body that is not the route's JSON object is the caller's error, on every route."""
    reply = send(service, path, BODIES[body])
    is_refused(reply)
    if path.startswith("/v1") or body in {"no JSON", "cut off", "an array", "a number", "deep arrays", "no UTF-8"}:
        assert (reply.status_code, reply.json()["error"]) == (400, "invalid-body")


@pytest.mark.parametrize("path", ROUTES)
def test_body_that_is_empty(service: Service, path: str) -> None:
    """No body is the caller's error, with or without a content type, and the sentence says what is missing."""
    for kind in (JSON, None):
        reply = send(service, path, b"", kind)
        is_refused(reply)
        assert len(reply.json()["detail"].split()) > 3, reply.json()["detail"]


@pytest.mark.parametrize("path", ROUTES)
def test_field_of_a_wrong_type_or_nasty(service: Service, path: str) -> None:
    """Each field of each route refuses what is not its type, and what is not fit for it."""
    good = ROUTES[path][1]
    for field in good:
        for value in VALUES:
            body = {
                key: filled(found, service, "a_b") if isinstance(found, str) else found for key, found in good.items()
            }
            reply = send(service, path, json.dumps({**body, field: value}).encode())
            is_refused(reply)
            if isinstance(value, (dict, float)):
                assert (reply.status_code, reply.json()["error"]) == (400, "invalid-body"), (field, value)
                assert field in reply.json()["detail"] or "body" in reply.json()["detail"]


@pytest.mark.parametrize("path", ROUTES)
def test_field_that_is_missing_or_null(service: Service, path: str) -> None:
    """A required field that is missing or null is refused."""
    is_refused(send(service, path, b"{}"))
    is_refused(send(service, path, json.dumps(dict.fromkeys(ROUTES[path][1])).encode()))


@pytest.mark.parametrize(
    "number", [b"1" * 5_000, b"1e999", b"-1e999", b"9223372036854775808", b"-0.0001", b"1" * 60_000]
)
def test_number_that_is_huge(service: Service, number: bytes) -> None:
    """A number beyond all bounds is refused wherever a number is taken."""
    body = b'{"poolDomain": "%s", "subdomain": "%s", "ttlSeconds": %s}'
    is_refused(send(service, "/v1/reserve", body % (service.pool.encode(), name().encode(), number)))
    body = b'{"fqdn": "x.%s", "reservationToken": "x", "ttlSeconds": %s}'
    is_refused(send(service, "/v1/renew", body % (service.pool.encode(), number)))


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
             "application/jsonx", "json", "", "application/octet-stream", "text/json; charset=utf-8", None],
)  # fmt: skip
def test_content_type_that_is_unknown(service: Service, path: str, kind: str | None) -> None:
    """A body that does not claim to be JSON is 415, whatever it holds: a browser sends others' pages' requests so."""
    reply = send(service, path, filled(json.dumps(ROUTES[path][1]), service, name()).encode(), kind)
    assert (reply.status_code, reply.json()["error"]) == (415, "unsupported-media-type")


@pytest.mark.parametrize("kind", [JSON, "Application/JSON; charset=utf-8", "application/merge-patch+json"])
def test_content_type_that_is_json(service: Service, kind: str) -> None:
    """JSON in any spelling is read."""
    body = json.dumps({"poolDomain": service.pool, "subdomain": "a_b"}).encode()
    assert send(service, "/v1/reserve", body, kind).json()["error"] == "invalid-format"


@pytest.mark.parametrize("path", ROUTES)
def test_body_over_the_limit(service: Service, path: str) -> None:
    """64 KiB are read; one byte more is 413, and so are ten megabytes."""
    good = json.dumps({"subdomain": "a_b", "poolDomain": service.pool, "fqdn": "a_b", "reservationToken": "x"}).encode()
    assert send(service, path, good.ljust(LIMIT)).status_code != 413
    for size in (LIMIT + 1, 10_000_000):
        reply = send(service, path, good.ljust(size))
        assert (reply.status_code, reply.json()["error"]) == (413, "payload-too-large")


def test_body_over_the_limit_in_chunks(service: Service) -> None:
    """A body that does not tell its length is cut off at the limit as well."""

    def chunks() -> Any:
        for _ in range(9):
            yield b" " * 8_192

    reply = service.client.post("/v1/reserve", content=chunks(), headers={"Content-Type": JSON})
    assert (reply.status_code, reply.json()["error"]) == (413, "payload-too-large")


@pytest.mark.parametrize("text", NASTY)
def test_path_that_is_nasty(service: Service, text: str) -> None:
    """A path parameter that is no name is refused, or answered as one that nobody has."""
    text = quote(text, safe="%*@'")
    for method, path in (
        ("GET", "/v1/allocations/{}"), ("DELETE", "/v1/allocations/{}"), ("GET", "/v1/allocations/{}/events"),
        ("GET", "/api/v1/pool/{}/list"), ("POST", "/api/v1/pool/{}/reserve"), ("POST", "/api/v1/pool/{}/commit"),
        ("DELETE", "/api/v1/pool/{}/release?sub=a"),
    ):  # fmt: skip
        body = {"subdomain": "x", "reservationToken": "x", "loadBalancerIP": ADDRESS} if method == "POST" else None
        reply = service.client.request(method, path.format(text), json=body)
        is_refused(reply)
        assert "x-injected" not in reply.headers
    reply = service.client.get(f"/api/v1/pool/{text}/check?sub=x")
    assert reply.status_code in {200, 404}
    assert reply.status_code == 404 or reply.json()["reason"] == "unsupported-pool"


@pytest.mark.parametrize("text", NASTY)
def test_query_that_is_nasty(service: Service, text: str) -> None:
    """A query parameter that cannot be used is refused, and a check tells so with 200."""
    text = quote(text, safe="%*@'")
    for query in (f"poolDomain={text}&subdomain=a", f"poolDomain={service.pool}&subdomain={text}%20_"):
        reply = service.client.get(f"/v1/check?{query}")
        assert (reply.status_code, reply.json()["available"]) == (200, False)
    reply = service.client.get(f"/api/v1/pool/{service.pool}/check?sub={text}%20_")
    assert (reply.status_code, reply.json()["reason"]) == (200, "invalid-format")
    for parameter in ("limit", "state", "mode", "poolDomain"):
        is_refused(service.client.get(f"/v1/allocations?{parameter}={text}"))
    for path in (
        "/v1/allocations?cursor=",
        "/v1/allocations?createdBy=",
        f"/v1/allocations/x.{service.pool}/events?cursor=",
    ):
        assert service.client.get(path + text).status_code < 500
    is_refused(service.client.request("DELETE", f"/api/v1/pool/{service.pool}/release?sub={text}%20_"))


@pytest.mark.parametrize(
    "query",
    ["limit=1&limit=2", "limit=", "limit", "&&&", "=", "a=" * 1000, "state=active&state=reserved", "limit[]=1",
     "unknown=1", "cursor=" + "A" * 40_000, "createdBy=" + "x" * 201, "createdBy=%7B"],
)  # fmt: skip
def test_query_that_is_odd(service: Service, query: str) -> None:
    """Parameters that are given twice, empty, unknown or very long never are the service's failure."""
    assert service.client.get(f"/v1/allocations?{query}").status_code < 500
    assert service.client.get(f"/v1/check?{query}").status_code < 500


@pytest.mark.parametrize(
    "text", ["YSBi", "YQ", "YS56eiB4", "AAAA", "MS4x", "OTk5OTk5OTk5OTk5OTk5OTk", "LTE", "zz", "8J+YgA"]
)
def test_cursor_that_no_list_made(service: Service, text: str) -> None:
    """A cursor is one of the list's, or refused."""
    paths = ("/v1/allocations?cursor=", f"/v1/allocations/x.{service.pool}/events?cursor=", "/v1/events?since=")
    for path in paths:
        reply = service.client.get(path + text)
        assert reply.status_code in {200, 400, 404}, (path, reply.text)


@pytest.mark.parametrize(
    "since",
    ["0001-01-01T00:00:00%2B23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999Z",
     "2026-01-31T00:00:60Z", "2026-02-30T00:00:00Z", "2026-01-31", "2026-01-31T00:00:00", "0000-01-01T00:00:00Z", "-1"],
)  # fmt: skip
def test_time_at_an_end_of_the_calendar(service: Service, since: str) -> None:
    """Every time that can be written is a time or refused."""
    reply = service.client.get(f"/v1/events?since={since}")
    assert reply.status_code in {200, 400}, reply.text
    assert reply.status_code == 200 or reply.json()["error"] == "invalid-query"


@pytest.mark.parametrize(
    "path",
    ["/v1/check?poolDomain={pool}&subdomain=x&subDomain=y", "/v1/check?x", "/v1/allocations?tenants=a", "/v1/allocations?x=",
     "/v1/allocations/x.{pool}?fresh=true", "/v1/allocations/x.{pool}/events?page=1", "/v1/events?until=x", "/v1/pools?x=1",
     "/v1/delegations/x.{pool}?Fresh=true", "/v1/registrars?%1b%5b31m=1", "/v1/nameservers?%00=1", "/v1/reserved?a&b"],
)  # fmt: skip
def test_query_parameter_that_there_is_not(service: Service, path: str) -> None:
    """A parameter that a route does not have is named and refused; in the reply it is plain ASCII."""
    reply = service.client.get(path.format(pool=service.pool))
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid-query"), reply.text
    assert "query parameter" in reply.json()["detail"]
    assert reply.json()["detail"].isprintable()


def test_query_parameter_of_the_compatibility_routes(service: Service) -> None:
    """Clients that are not ours may send more than these routes know."""
    assert service.client.get(f"/api/v1/pool/{service.pool}/check?sub=x&ts=1").status_code == 200
    assert service.client.get("/livez?x=1").status_code == 200


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /v1/allocations/\xff\xfe HTTP/1.1", b"GET /v1/check?subdomain=\xff HTTP/1.1", b"GET  HTTP/1.1", b"\x00\x01\x02",
        b"GET /v1/check HTTP/9.9", b"GET nowhere HTTP/1.1", b"FROB /v1/check HTTP/1.1", b"GET http://[::1 HTTP/1.1",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1",
    ],
)  # fmt: skip
def test_request_that_is_no_http(service: Service, request_line: bytes) -> None:
    """Bytes that are no request, or nearly none, get a 4xx or a closed connection, and hurt nobody else."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=patient(15)) as connection:
        connection.sendall(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            answer = connection.recv(65536)
        except ConnectionResetError:
            answer = b""
    assert not answer or answer.split(b" ")[1].startswith((b"4", b"505")), answer[:200]
    assert service.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: -1", b"Content-Length: x",
        b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked\r\n\r\nZZ", b"Transfer-Encoding: gzip",
        b"Content-Type: \xff\xff\r\nContent-Length: 2\r\n\r\n{}", b"Idempotency-Key: \xff\r\nContent-Length: 2\r\n\r\n{}",
        b"X-Request-Id: \xff\xff\r\nContent-Length: 2\r\n\r\n{}", b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
        b"Content-Length: 70000",
    ],
)  # fmt: skip
def test_headers_that_are_nasty(service: Service, headers: bytes) -> None:
    """Headers that lie or that are no text get a 4xx or a closed connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=patient(15)) as connection:
        head = b"POST /v1/reserve HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        connection.sendall(head + headers + b"\r\n\r\n")
        try:
            answer = connection.recv(65536)
        except ConnectionResetError:
            answer = b""
    assert not answer or answer.split(b" ")[1].startswith(b"4"), answer[:200]
    assert service.client.get("/readyz").status_code == 200
