"""TLS: who is let in by a certificate, renewals without a restart, and that all limits of a connection hold."""

import contextlib
import json
import resource
import shutil
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest

from pdm_service.connections import HEAD_SECONDS, UNREAD_SECONDS
from pdm_service.dev.servers import Postgres, PowerDNS
from tests.api.conftest import new_shared_service
from tests.api.test_callers import bearer, line
from tests.api.test_connections import LINE, WHOLE, connected, open_to, said
from tests.certificates import EXPIRED, Authority
from tests.eventually import eventually
from tests.patience import patient
from tests.service import Service

ALICE, CAROL = "spiffe://platform.test/alice", "carol.platform.test"


def named(identity: str, certificate: str, *scopes: str) -> str:
    return json.dumps({"id": identity, "certificate": certificate, "scopes": scopes})


CALLERS = [
    named("alice", ALICE, "allocate"),
    line("alice", "key-alice", "allocate"),
    named("carol", CAROL, "metrics"),
    named("dave", "dave", "check"),
    line("bob", "key-bob", "check"),
    line("root", "key-root", "admin"),
]


class Files:
    """The files that the settings name: a certificate and its key, the CA of clients, the callers."""

    def __init__(self, directory: Path) -> None:
        self.servers, self.clients = Authority(directory / "servers"), Authority(directory / "clients")
        self.cert, self.key, self.ca = (directory / name for name in ("tls.crt", "tls.key", "client-ca.crt"))
        self.callers = directory / "callers.jsonl"
        self.callers.write_text("\n".join(CALLERS))
        self.renew()
        self.trust(self.clients)

    def renew(self, *, key: Path | None = None) -> None:
        cert, its_own = self.servers.pair("127.0.0.1")
        shutil.copy(cert, self.cert)
        shutil.copy(key or its_own, self.key)

    def trust(self, authority: Authority) -> None:
        shutil.copy(authority.file, self.ca)

    def settings(self) -> dict[str, Any]:
        return {
            "PDM_TLS_CERT_FILE": str(self.cert),
            "PDM_TLS_KEY_FILE": str(self.key),
            "PDM_TLS_CLIENT_CA_FILE": str(self.ca),
            "PDM_AUTH_TOKENS_FILE": str(self.callers),
            "trusting": self.servers.trusting(),
        }


@pytest.fixture(scope="module")
def files(directory: Path) -> Files:
    return Files(directory / "tls")


@pytest.fixture(scope="module")
def service(directory: Path, postgres: Postgres, template: str, powerdns: PowerDNS, files: Files) -> Iterator[Service]:
    """A service over TLS that asks clients for certificates."""
    yield from new_shared_service(directory, postgres, template, powerdns, **files.settings())


@pytest.fixture
def own_files(directory: Path, pool: str) -> Files:
    return Files(directory / pool)


@pytest.fixture
def lone(new_service: Callable[..., Service], own_files: Files) -> Service:
    """A service that nobody else uses."""
    return new_service(**own_files.settings()).start()


@contextlib.contextmanager
def secured(service: Service, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """One connection to the service, its handshake done."""
    with connected(service) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        yield connection


def asked(service: Service, context: ssl.SSLContext, path: str, **headers: str) -> httpx.Response:
    """The answer to one request on a connection of its own."""
    with httpx.Client(base_url=service.url, verify=context, trust_env=False, timeout=patient(20)) as client:
        return client.get(path, headers=headers)


WHO = {
    "nobody": ((), None, None, "send a credential"),
    "a key": ((), None, "key-bob", "bob"),
    "a URI": ((ALICE,), None, None, "alice"),
    "a DNS name": ((CAROL,), None, None, "carol"),
    "one of many names": (("a.test", CAROL, "10.0.0.1"), None, None, "carol"),
    "a common name": ((), "dave", None, "dave"),
    "a common name beside others": (("a.test",), "dave", None, "send a credential"),
    "a common name beside an address": (("10.0.0.1",), "dave", None, "send a credential"),
    "nobody's name": (("mallory.platform.test",), None, None, "send a credential"),
    "other letters": ((CAROL.upper(),), None, None, "send a credential"),
    "a name below": ((f"x.{CAROL}",), None, None, "send a credential"),
    "a wildcard": ((f"*.{CAROL.partition('.')[2]}",), None, None, "send a credential"),
    "a URI below": ((f"{ALICE}/x",), None, None, "send a credential"),
    "two clients": ((ALICE, CAROL), None, None, "several clients"),
    "nobody's name and a key": (("mallory.platform.test",), None, "key-bob", "bob"),
    "its own key": ((ALICE,), None, "key-alice", "alice"),
    "another's key": ((ALICE,), None, "key-bob", "different clients"),
    "a wrong key": ((ALICE,), None, "key-nobody", "belongs to no client"),
}


@pytest.mark.parametrize("what", WHO)
def test_who_a_certificate_is(service: Service, files: Files, what: str) -> None:
    """A name of a certificate is its client's, exactly; a key beside it has to be of the same client."""
    names, common, key, told = WHO[what]
    own = files.clients.pair(*names, common=common) if names or common else None
    context = files.servers.trusting(own)
    # Whoever is let in lacks this scope, and is told so by name.
    reply = asked(service, context, "/v1/events", **(bearer(key) if key else {}))
    assert told in reply.json()["detail"]
    assert reply.status_code == (403 if told in {"alice", "bob", "carol", "dave"} else 401)
    assert asked(service, context, "/livez").status_code == 200


def failures(service: Service) -> list[str]:
    """Why handshakes failed, as the log has it."""
    return [str(one["error"]) for one in service.lines() if one["message"] == "no handshake"]


@pytest.mark.parametrize("key", [None, "key-bob"])
@pytest.mark.parametrize("what", ["unable to get local issuer certificate", "certificate has expired"])
def test_certificate_that_proves_nothing(
    service: Service, files: Files, directory: Path, what: str, key: str | None
) -> None:
    """One of another CA, or that has expired, ends the handshake, with a good key too; the log says why."""
    others = Authority(directory / f"others-{key}")
    own = files.clients.pair(ALICE, valid=EXPIRED) if "expired" in what else others.pair(ALICE)
    before = failures(service).count(f"its certificate is not accepted: {what}")
    with pytest.raises(httpx.TransportError):
        asked(service, files.servers.trusting(own), "/livez", **(bearer(key) if key else {}))
    eventually(lambda: failures(service).count(f"its certificate is not accepted: {what}") == before + 1)


def test_old_versions(service: Service, files: Files) -> None:
    """TLS 1.2 and 1.3 are spoken, TLS 1.1 is not."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = files.servers.trusting(files.clients.pair(ALICE))
        context.minimum_version = context.maximum_version = version
        assert "alice" in asked(service, context, "/v1/events").json()["detail"]
    context = files.servers.trusting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(OSError, match=r".*"), secured(service, context):
        pass
    eventually(lambda: "TLS fails: unsupported protocol" in failures(service))


def test_plain_http(service: Service) -> None:
    """What is sent without TLS gets no answer, and nobody else notices."""
    with connected(service) as connection:
        connection.sendall(WHOLE)
        assert b"HTTP" not in said(connection)
    assert service.client.get("/livez").status_code == 200


def serial(service: Service, files: Files) -> str:
    with secured(service, files.servers.trusting()) as connection:
        return str((connection.getpeercert() or {})["serialNumber"])


def served(connection: ssl.SSLSocket, path: str = "/v1/events") -> tuple[int, str]:
    """The answer to one more request on a connection that stays open."""
    connection.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    reply = HTTPResponse(connection)
    reply.begin()
    return reply.status, reply.read().decode()


def test_certificate_is_renewed(lone: Service, own_files: Files) -> None:
    """A new certificate is shown from the next connection on; those that are open go on."""
    before = serial(lone, own_files)
    with secured(lone, own_files.servers.trusting(own_files.clients.pair(ALICE))) as connection:
        assert "alice" in served(connection)[1]
        own_files.renew()
        eventually(lambda: serial(lone, own_files) != before, 10, "the new certificate")
        assert "alice" in served(connection)[1]


def test_ca_of_clients_is_renewed(lone: Service, own_files: Files, directory: Path) -> None:
    """Certificates of the new CA are let in, those of the old one no more; connections that are open go on."""
    successor = Authority(directory / f"successor-{lone.pool}")
    old, new = (own_files.servers.trusting(one.pair(ALICE)) for one in (own_files.clients, successor))

    def let_in(context: ssl.SSLContext) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return "alice" in asked(lone, context, "/v1/events").text
        return False

    with secured(lone, old) as connection:
        assert "alice" in served(connection)[1]
        assert not let_in(new)
        own_files.trust(successor)
        eventually(lambda: let_in(new), 10, "the new CA")
        assert not let_in(old)
        assert "alice" in served(connection)[1]


def test_client_is_taken_out(lone: Service, own_files: Files) -> None:
    """A line that is taken out of the file of callers ends what its certificate opens, on open connections too."""
    with secured(lone, own_files.servers.trusting(own_files.clients.pair(ALICE))) as connection:
        assert "alice" in served(connection)[1]
        own_files.callers.write_text("\n".join(CALLERS[1:]))
        eventually(lambda: served(connection)[0] == 401, 10)


def test_new_pair_that_is_broken(lone: Service, own_files: Files) -> None:
    """The pair before stays in force, which log and metric tell, until there is a good one."""

    def valid() -> bool:
        reply = asked(lone, own_files.servers.trusting(), "/metrics", **bearer("key-root"))
        (told,) = [one for one in reply.text.splitlines() if one.startswith('pdm_file_valid{file="tls"}')]
        return float(told.split()[1]) == 1

    before = serial(lone, own_files)
    assert valid()
    own_files.renew(key=own_files.servers.pair("127.0.0.1")[1])
    eventually(lambda: not valid(), 10, "the broken pair to be told")
    assert serial(lone, own_files) == before
    (told,) = {one["error"] for one in lone.lines() if one["message"] == "file not usable"}
    assert "tls.crt and tls.key are no certificate with its key (key values mismatch)" in told
    own_files.renew()
    eventually(valid, 10, "the good pair")
    assert serial(lone, own_files) != before


HELLO = bytes.fromhex("16030100ff010000fb0303")  # a ClientHello that goes on


@pytest.mark.parametrize("begun", [b"", HELLO], ids=["nothing", "hello"])
def test_handshake_without_an_end(lone: Service, own_files: Files, begun: bytes) -> None:
    """A connection whose handshake is not done in time ends, and others are served meanwhile."""
    began = time.monotonic()
    with connected(lone) as connection:
        connection.sendall(begun)
        connection.settimeout(patient(HEAD_SECONDS + 10))
        assert asked(lone, own_files.servers.trusting(), "/livez").status_code == 200
        assert said(connection) == b""
    assert time.monotonic() - began >= HEAD_SECONDS - 1


@pytest.mark.parametrize("begun", [b"", HELLO, None], ids=["nothing", "hello", "idle"])
def test_strangers_shut_nobody_out(lone: Service, own_files: Files, begun: bytes | None) -> None:
    """However many connections strangers hold, in a handshake or after it, a probe and a caller get their answers."""
    assert lone.process is not None
    resource.prlimit(lone.process.pid, resource.RLIMIT_NOFILE, (400, 400))
    context = own_files.servers.trusting()
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            with contextlib.suppress(OSError):
                if begun is None:
                    stack.enter_context(secured(lone, context)).sendall(WHOLE)
                else:
                    stack.enter_context(connected(lone)).sendall(begun)
        for _ in range(20):
            assert asked(lone, context, "/livez").status_code == 200
            assert asked(lone, context, "/v1/nameservers", **bearer("key-bob")).status_code == 200
        assert open_to(lone) <= 101


def test_client_whose_certificate_is_known_is_kept(lone: Service, own_files: Files) -> None:
    """The connection of a client with a certificate is not one of those that end where there are too many."""
    assert lone.process is not None
    resource.prlimit(lone.process.pid, resource.RLIMIT_NOFILE, (400, 400))
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(secured(lone, own_files.servers.trusting(own_files.clients.pair(CAROL))))
        assert served(kept, "/metrics")[0] == 200
        for _ in range(300):
            with contextlib.suppress(OSError):
                stack.enter_context(connected(lone))
        # By now all of them have been let in.
        assert asked(lone, own_files.servers.trusting(), "/livez").status_code == 200
        assert "carol" in served(kept)[1]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (LINE + b"a: b\r\n" * 100 + b"\r\n", 431),
        (LINE + b"X-Long: " + b"a" * 66_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01 no HTTP\r\n\r\n", 400),
    ],
    ids=["path", "headers", "value", "nonsense"],
)
def test_head_that_is_too_large(service: Service, files: Files, head: bytes, status: int) -> None:
    """What goes over a limit is refused and the connection ends, over TLS as without."""
    with secured(service, files.servers.trusting()) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError, ssl.SSLError):
            connection.sendall(head)
        assert said(connection).startswith(b"HTTP/1.1 %d " % status)


def test_requests_without_reading(service: Service, files: Files) -> None:
    """Requests that are sent before their answers are read are answered in order, on one connection."""
    with secured(service, files.servers.trusting(files.clients.pair(ALICE))) as connection:
        connection.sendall(WHOLE * 10)
        found = b""
        while found.count(b"HTTP/1.1 200") < 10:
            data = connection.recv(65536)
            assert data, found
            found += data


def test_answer_that_nobody_reads(lone: Service, own_files: Files) -> None:
    """A client that asks for megabytes and does not read them is cut, without an error in the log."""
    lone.execute(
        "INSERT INTO events (fqdn, allocation_id, action, actor, outcome)"
        " SELECT 'x.test', gen_random_uuid(), 'reserved', 'x', repeat('x', 2000) FROM generate_series(1, 10000)"
    )
    lone.client.close()
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", lone.port))
        with own_files.servers.trusting().wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            key = b"Authorization: Bearer key-root\r\n"
            connection.sendall(b"GET /v1/events?limit=10000 HTTP/1.1\r\nHost: x\r\n" + key + b"\r\n")
            eventually(lambda: open_to(lone) == 1)
            began = time.monotonic()
            eventually(lambda: open_to(lone) == 0, UNREAD_SECONDS + 10, "who reads nothing to be cut")
            assert time.monotonic() - began > UNREAD_SECONDS / 2
    assert not [one for one in lone.lines() if one["level"] == "error"]


def test_end_of_the_service(lone: Service, own_files: Files) -> None:
    """A client that does nothing with its connection does not hold up the service's end."""
    with secured(lone, own_files.servers.trusting()) as idle, connected(lone):
        assert served(idle)[0] == 401
        began = time.monotonic()
        assert lone.stop() == 0
        assert time.monotonic() - began < patient(5)
        assert said(idle) == b""
