"""Bytes as the replies of a registrar to its adapter."""

import asyncio
import gzip
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from random import Random
from time import monotonic

from adapters.base import RegistrarError
from adapters.conformance.played import Seen, Server
from fuzz.mutation import mutated
from tests.registrars import play

WITHIN_SECONDS = 0.7
"""What a call is given here."""
_BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">'.encode() for n in range(9)
) + b"]><ApiResponse>&j;</ApiResponse>"  # fmt: skip
_SHAPES = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"<a>" * 50_000,
    _BOMB,
    gzip.compress(b"[" * 5_000_000),
    b"\xff\xfe\x00",
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"{}",
    b'{"result": 7, "success": "yes"}',
    b"<ApiResponse/>",
    b"9" * 5000,
)
_HEADERS = (
    ("Content-Encoding", "gzip"),
    ("Content-Type", "text/html"),
    ("Content-Length", "99999999"),
    ("Content-Length", "-1"),
    ("Retry-After", "99999999999"),
    ("Retry-After", "x"),
    ("Location", "http://192.0.2.1/"),
    ("Transfer-Encoding", "chunked"),
    ("Set-Cookie", "s=1; Domain=example"),
    ("X-Long", "y" * 60_000),
)
_STATUSES = (200, 200, 200, 201, 202, 204, 301, 307, 400, 401, 403, 404, 409, 422, 429, 500, 503, 599)


def _worst(chance: Random) -> Callable[[Server, BaseHTTPRequestHandler, Seen], bool]:
    """Return a fault: the provider's own reply, changed; or something that no provider sends."""

    def behave(server: Server, handler: BaseHTTPRequestHandler, seen: Seen) -> bool:
        right = server.answer(seen)
        kind = chance.randrange(4)
        body = right.body
        if kind:
            body = chance.choice(_SHAPES) if kind == 1 else mutated(chance, [right.body or b"{}"])
        status = right.status if chance.random() < 0.6 else chance.choice(_STATUSES)
        odd = dict(chance.sample(_HEADERS, chance.choice((0, 0, 1, 2, 5))))
        headers = {**right.headers, "Content-Length": str(len(body)), **odd}
        lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in headers.items())]
        lines += ["X-Many: 1"] * chance.choice((0, 0, 0, 500))
        handler.close_connection = True
        with suppress(OSError):
            handler.wfile.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            if chance.random() < 0.03:
                for _ in range(300):
                    handler.wfile.write(b"x" * 65536)
        return True

    return behave


async def judge(case: str, seed: int, count: int, *, patience: float = 1.0) -> None:
    """Have an adapter meet so many bad replies; raises for any other failure than its own, and for a late one."""
    chance = Random(seed)
    server = play(case)
    server.fault(_worst(chance))
    http = server.http()
    adapter = server.adapter(http)
    try:
        for number in range(count):
            began = monotonic()
            with suppress(RegistrarError):
                if (number + seed) % 3:
                    await adapter.validate(server.token, "example.com", within=WITHIN_SECONDS)
                else:
                    hosts = ("ns1.platform.test", "ns2.platform.test")
                    await adapter.set_nameservers(server.token, "example.com", hosts, within=WITHIN_SECONDS)
            took = monotonic() - began
            if took > (WITHIN_SECONDS + 1) * patience:
                raise AssertionError(f"{case}, seed {seed}, call {number}: answered after {took:.1f} s")
    finally:
        await http.close()
        await asyncio.to_thread(server.stop)
