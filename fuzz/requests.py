"""Bytes to the HTTP port of a running service."""

import json
import re
import socket
from random import Random
from time import monotonic

from fuzz.mutation import mutated

SLOWEST_SECONDS = 15.0
_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})", re.MULTILINE)
_BODIES = (
    ("POST", "/v1/reserve", {"poolDomain": "x.test", "subdomain": "a"}),
    ("POST", "/v1/reserve", {"mode": "byo-manual", "domain": "acme.zz", "ttlSeconds": 60}),
    (
        "POST",
        "/v1/commit",
        {"fqdn": "a.x.test", "reservationToken": "t", "loadBalancerIP": "192.0.2.1", "acknowledge": ["X"]},
    ),
    ("POST", "/v1/renew", {"fqdn": "a.x.test", "reservationToken": "t"}),
    ("POST", "/v1/release", {"fqdn": "a.x.test", "force": True}),
    ("POST", "/v1/validate", {"registrar": "ovh", "domain": "acme.zz", "token": "t"}),
    ("PUT", "/v1/allocations/a.x.test", {"owner": "o", "loadBalancerIP": "192.0.2.1"}),
    ("DELETE", "/api/v1/pool/x.test/release", {"subdomain": "a"}),
)
_READS = (
    "/v1/check?poolDomain=x.test&subdomain=a",
    "/v1/allocations?limit=2&cursor=YQ",
    "/v1/allocations/a.x.test/events?limit=1",
    "/api/v1/pool/x.test/check?sub=a",
    "/v1/events?since=2026-01-01T00:00:00Z",
    "/metrics",
    "/readyz",
    "/schema/openapi.json",
)


def seeds() -> list[bytes]:
    """Return requests as clients send them."""
    made = [f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n".encode() for path in _READS]
    for method, path, value in _BODIES:
        body = json.dumps(value).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        made.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        made.append(f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
    return [*made, made[0] * 3, made[-1] + made[0]]


def judge(port: int, data: bytes, *, patience: float = 1.0) -> None:
    """Send bytes to a service at a loopback port; raises for an answer 500, or one that comes too late."""
    began = monotonic()
    said = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=SLOWEST_SECONDS * patience) as connection:
        try:
            connection.sendall(data)
            # What is not a whole request is ended here; else the service would wait for the rest, as it should.
            connection.shutdown(socket.SHUT_WR)
            while len(said) < 1 << 20 and (found := connection.recv(65536)):
                said += found
        except TimeoutError as error:
            raise AssertionError(f"no answer in {monotonic() - began:.0f} s") from error
        except ConnectionError:
            pass  # what is refused may end by a reset
    if b"500" in _STATUS.findall(bytes(said)):
        raise AssertionError(f"a 500: {bytes(said[-300:])!r}")


def inputs(seed: int, count: int) -> list[bytes]:
    """So many inputs, the same ones for a seed."""
    chance, right = Random(seed), seeds()
    return [mutated(chance, right) for _ in range(count)]
