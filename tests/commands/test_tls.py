"""The client and the commands over TLS: with the service's CA, and a certificate of their own instead of a key."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pdm_service.client import Client, Unreachable
from tests.certificates import EXPIRED, Authority
from tests.patience import patient
from tests.service import PDM, Service, name


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Of the service and its clients."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def own(authority: Authority) -> tuple[Path, Path]:
    return authority.pair("alice.test")


@pytest.fixture
def secure(new_service: Callable[..., Service], authority: Authority, tmp_path: Path) -> Service:
    callers = tmp_path / "callers.jsonl"
    callers.write_text('{"id": "alice", "certificate": "alice.test", "scopes": ["allocate"]}')
    cert, key = authority.pair("127.0.0.1")
    return new_service(
        PDM_TLS_CERT_FILE=str(cert),
        PDM_TLS_KEY_FILE=str(key),
        PDM_TLS_CLIENT_CA_FILE=str(authority.file),
        PDM_AUTH_TOKENS_FILE=str(callers),
        trusting=authority.trusting(),
    ).start()


def pdm(service: Service, *arguments: str, **more: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    environment = {"PATH": os.environ["PATH"], "PDM_URL": service.url, **more}
    found = subprocess.run([PDM, *arguments], env=environment, capture_output=True, text=True, timeout=patient(60))
    return found.returncode, found.stdout + found.stderr


def test_commands(secure: Service, authority: Authority, own: tuple[Path, Path]) -> None:
    """By variables or by options, a command shows its certificate to a service that it trusts by its CA."""
    files = {
        "PDM_CA_FILE": str(authority.file), "PDM_CLIENT_CERT_FILE": str(own[0]), "PDM_CLIENT_KEY_FILE": str(own[1])
    }  # fmt: skip
    fqdn = f"{name()}.{secure.pool}"
    code, told = pdm(secure, "reserve", fqdn, **files)
    assert code == 0, told
    options = ["--ca-file", str(authority.file), "--cert-file", str(own[0]), "--cert-key-file", str(own[1])]
    assert fqdn in pdm(secure, "list", *options)[1]
    code, told = pdm(secure, "list", PDM_CA_FILE=str(authority.file))
    assert (code, told.partition(":")[0]) == (1, "unauthenticated")


def test_commands_with_half_of_it(secure: Service, own: tuple[Path, Path], tmp_path: Path) -> None:
    """A certificate without its key, and a file that is none, are told in a line."""
    code, told = pdm(secure, "list", PDM_CLIENT_CERT_FILE=str(own[0]))
    assert code == 2
    assert "a certificate needs its key" in told
    code, told = pdm(secure, "list", PDM_CA_FILE=str(own[1]))
    assert code == 1
    assert "has no certificate of a CA" in told
    code, told = pdm(secure, "list", PDM_CA_FILE=str(tmp_path / "nothing"))
    assert code == 1
    assert "nothing: No such file or directory" in told


async def test_service_that_is_not_trusted(
    secure: Service, authority: Authority, own: tuple[Path, Path], tmp_path: Path
) -> None:
    """A client says what is wrong with the service's certificate; a service that refuses the client's ends the call."""
    others = Authority(tmp_path / "others")
    async with Client(secure.url, ca_file=others.file, certificate=own, retry_seconds=0) as client:
        with pytest.raises(Unreachable, match="its certificate is not accepted:"):
            await client.pools()
    async with Client(secure.url, certificate=own, retry_seconds=0) as client:
        with pytest.raises(Unreachable, match="its certificate is not accepted"):
            await client.pools()
    for refused in (others.pair("alice.test"), authority.pair("alice.test", valid=EXPIRED)):
        async with Client(secure.url, ca_file=authority.file, certificate=refused, retry_seconds=0) as client:
            with pytest.raises(Unreachable):
                await client.pools()
    async with Client(secure.url, ca_file=authority.file, certificate=own) as client:
        assert [one.pool_domain for one in await client.pools()] == [secure.pool]


def test_doctor_misses_the_ca(secure: Service) -> None:
    """Certificates in the file of callers that nobody is asked for are found."""
    assert "PDM_TLS_CLIENT_CA_FILE" not in pdm(secure, "doctor", **secure.environment)[1]
    without = {name: value for name, value in secure.environment.items() if name != "PDM_TLS_CLIENT_CA_FILE"}
    assert "warn  certificates: in the file of callers, but" in pdm(secure, "doctor", **without)[1]
