"""A credential is in nothing that an adapter leaves behind, whatever happens."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.base import Follows, ReadsDs, Registrar, RegistrarError, SetsDs
from adapters.conformance.patience import patient
from adapters.conformance.played import NONSENSE, Answer, Server, drip, drop, limited, lose_reply, reply, silent

DOMAIN = "example.com"
NEW = ("ns1.platform.test", "ns2.platform.test")


def parts(token: str) -> list[str]:
    """The credential and what of it is secret: all but short words and addresses."""
    return [token, *(part for part in token.split(":") if len(part) >= 10 and not part.replace(".", "").isdigit())]


def echo(server: Server) -> Callable[..., bool]:
    """Answer with the credential in every place that a provider might put it."""
    text = f"the key {server.token} ({', '.join(parts(server.token))})"
    headers = {"Location": f"http://127.0.0.1:9/?{text}", "X-Echo": text, "Retry-After": text}
    bodies = [f'{{"code":"{text}","message":"{text}","error":"{text}"}}', text]
    bodies += [
        f'{{"code":"{part}","name":"{part}","errorCode":"{part}","Status":"{part}"}}' for part in parts(server.token)
    ]
    answers = [Answer(status, body.encode(), headers) for status in (200, 302, 401, 403, 429, 500) for body in bodies]

    def behave(played: Server, handler: Any, seen: Any) -> bool:
        return reply(answers[len(played.seen) % len(answers)])(played, handler, seen)

    return behave


def operations(registrar: Registrar, server: Server) -> list[Callable[[str], Awaitable[Any]]]:
    """Every call of an adapter, given a credential."""
    found: list[Callable[[str], Awaitable[Any]]] = [
        lambda token: registrar.validate(token, DOMAIN, within=patient(0.35)),
        lambda token: registrar.get_nameservers(token, DOMAIN, within=patient(0.35)),
        lambda token: registrar.set_nameservers(token, DOMAIN, NEW, within=patient(0.35)),
    ]
    if isinstance(registrar, ReadsDs):
        found.append(lambda token: registrar.get_ds(token, DOMAIN, within=patient(0.35)))
    if isinstance(registrar, SetsDs):
        found.append(lambda token: registrar.set_ds(token, DOMAIN, server.some_ds[:1], within=patient(0.35)))
    if isinstance(registrar, Follows):
        found.append(lambda token: registrar.progress(token, DOMAIN, "1", within=patient(0.35)))
    return found


def every(server: Server) -> tuple[str, ...]:
    return server.token, server.wrong_token, f"{server.token}:x y"


FAULTS: dict[str, Callable[[Server], Callable[..., bool] | None]] = {
    "none": lambda _: None,
    "lost reply": lambda _: lose_reply,
    "drop": lambda _: drop,
    "silence": lambda _: silent,
    "drip": lambda _: drip,
    "limit": lambda _: limited(3600),
    "500": lambda _: reply(Answer(500)),
    "html": lambda _: reply(NONSENSE["html"]),
    "redirect": lambda _: reply(NONSENSE["redirect"]),
    "echo": echo,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_credential_stays_secret(server: Server, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    """It is in no log line of any library at any level, metric, failure, traceback or task."""
    caplog.set_level(logging.DEBUG)
    told: list[object] = []
    http = server.http(lambda *values: told.append(values))
    registrar = server.adapter(http)
    if (behave := FAULTS[fault](server)) is not None:
        server.fault(behave)
    secrets = {word for token in (server.token, server.wrong_token) for word in parts(token)}
    calls = [
        (call, token)
        for call in operations(registrar, server)
        for token in (every(server) if fault in {"none", "echo"} else (server.token,))
    ]
    for call, token in calls:
        task = asyncio.ensure_future(call(token))
        await asyncio.sleep(0)
        told += [repr(one) for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        try:
            told.append(await task)
        except RegistrarError as failure:
            told += [failure.detail, failure.code, *traceback.format_exception(failure)]
            told += _chain(failure)
    await http.close()
    told += [vars(record) | {"message": record.getMessage()} for record in caplog.records]
    assert told
    assert not [word for word in secrets if word.lower() in repr(told).lower()]


async def test_credential_of_a_cancelled_call(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Nor when the call is cut off in the middle."""
    caplog.set_level(logging.DEBUG)
    told: list[object] = []
    http = server.http(lambda *values: told.append(values))
    server.fault(silent)
    task = asyncio.ensure_future(server.adapter(http).validate(server.token, DOMAIN))
    async with asyncio.timeout(5):
        while not server.seen:
            assert not task.done()
            await asyncio.sleep(0.01)
    told.append(repr(task))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await http.close()
    told += [vars(record) for record in caplog.records]
    assert [values[2] for values in told if isinstance(values, tuple)] == ["cancelled"]
    assert not [word for word in parts(server.token) if word in repr(told)]


def _chain(failure: BaseException) -> list[str]:
    """What hangs on a failure without being shown: its context, and theirs."""
    found, following = [], failure.__context__
    while following is not None:
        found.append(f"{following!r} {following}")
        following = following.__context__
    return found
