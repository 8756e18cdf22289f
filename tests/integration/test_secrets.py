"""Secrets in the logs of libraries: none at their most talkative, whether calls succeed or fail."""

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pdm_service.callers.token_review import TokenReview
from pdm_service.client import Client
from pdm_service.dev.servers import PowerDNS, free_port
from pdm_service.errors import AuthenticationUnavailable, PdmError, StoreUnavailable
from pdm_service.powerdns import PowerDns, PowerDnsError
from pdm_service.store.database import Database
from tests.service import Service

PASSWORD, KEY, TOKEN = "marked-password", "marked-key", "marked-token"


@pytest.fixture
def talkative(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All loggers at their lowest level, also those that `pdm serve` holds at warning."""
    before = {name: logging.getLogger(name).level for name in list(logging.root.manager.loggerDict)}
    for name in before:
        logging.getLogger(name).setLevel(1)
    with caplog.at_level(1):
        yield caplog
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


async def test_logs_of_libraries(
    talkative: pytest.LogCaptureFixture, powerdns: PowerDNS, database_url: str, service: Service, tmp_path: Path
) -> None:
    """What httpx, httpcore, asyncpg and asyncio log of a call has no header, password, key or token."""
    failures: list[BaseException] = []
    for url, key in (
        (powerdns.api_url, powerdns.api_key),
        (powerdns.api_url, KEY),
        (f"http://127.0.0.1:{free_port()}", KEY),
    ):
        powerdns_client = PowerDns(url, key, "localhost", 1, lambda *_: None)
        try:
            await powerdns_client.version()
        except PowerDnsError as error:
            failures.append(error)
        await powerdns_client.close()
    parts = urlsplit(database_url)
    account = f"{parts.username}:{PASSWORD}@{parts.hostname}"
    elsewhere, refused = (parts._replace(netloc=f"{account}:{port}").geturl() for port in (free_port(), parts.port))
    for url in (elsewhere, refused, database_url):
        database = Database(url, 1)
        await database.open()
        try:
            await database.row("SELECT $1::text", TOKEN)
        except StoreUnavailable as error:
            failures.append(error)
        await database.close()
    async with Client(service.url, key=KEY, retry_seconds=0) as client:
        held = await client.reserve(service.pool, "a-name", idempotency_key=TOKEN)
        try:
            await client.commit(held.fqdn, TOKEN, ["192.0.2.1"], registrar="cloudflare", registrar_token=TOKEN)
        except PdmError as error:
            failures.append(error)
    own = tmp_path / "token"
    own.write_text(KEY)
    review = TokenReview(f"http://127.0.0.1:{free_port()}", own, None)
    try:
        await review.username(TOKEN, b"")
    except AuthenticationUnavailable as error:
        failures.append(error)
    await review.close()
    loggers = {record.name.partition(".")[0] for record in talkative.records}
    assert loggers >= {"httpx", "httpcore"}
    assert len(failures) == 6
    told = [f"{record.getMessage()} {vars(record)}" for record in talkative.records]
    told += ["".join(traceback.format_exception(error)) for error in failures]
    for secret in (PASSWORD, KEY, TOKEN, powerdns.api_key, str(parts.password), held.reservation_token or "-"):
        assert [text for text in told if secret in text] == []
