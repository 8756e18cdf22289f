"""Settings: what each variable takes, and that whoever starts the service hears of every fault at once."""

import fcntl
import os
import subprocess
import sys
import termios
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from pdm_service.callers import Limits
from pdm_service.model.allocation import Ages
from pdm_service.model.records import Nameserver
from pdm_service.settings import Settings, SettingsError, read
from tests.certificates import Authority
from tests.patience import patient

DSN = "postgresql://pdm:marked-db-secret@127.0.0.1/pdm"
KEY = "marked-api-secret"
REQUIRED = {"PDM_DATABASE_URL": DSN, "PDM_PDNS_BASE_URL": "http://127.0.0.1:8081", "PDM_PDNS_API_KEY": KEY}
PDM = str(Path(sys.executable).parent / "pdm")


def faults(**more: str) -> list[str]:
    """The faults of the required settings and `more`, a line each."""
    try:
        read({**REQUIRED, **more})
    except SettingsError as error:
        return str(error).splitlines()
    return []


def start(**more: str) -> subprocess.CompletedProcess[str]:
    """`pdm serve` with the required settings and `more`."""
    environment = {"PATH": os.environ["PATH"], **REQUIRED, **more}
    return subprocess.run(
        [PDM, "serve"], env=environment, capture_output=True, text=True, timeout=patient(10), check=False
    )


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("host", "127.0.0.1"),
        ("port", 8080),
        ("database_url", DSN),
        ("pdns_base_url", "http://127.0.0.1:8081"),
        ("pdns_api_key", KEY),
        ("pdns_server_id", "localhost"),
        ("pdns_concurrency", 8),
        ("pool_domains", ("omani.works", "openova.io")),
        ("nameservers", ("ns1.openova.io", "ns2.openova.io", "ns3.openova.io")),
        ("nameserver_addresses", ()),
        ("reservation_ttl", timedelta(minutes=30)),
        ("ages", Ages(reservation=timedelta(days=30), proof=timedelta(hours=24))),
        ("limits", Limits(claims=60, renewals=600, preflights=30, observations=60)),
        ("reconcile_interval", timedelta(seconds=5)),
        ("lease", timedelta(seconds=15)),
        ("log_level", "info"),
        ("registrar_urls", {}),
        ("registrar_options", {"namecheap": {"CLIENT_IP": None}, "ovh": {"ENDPOINT": "ovh-eu"}}),
        ("pool_registrar", None),
        ("pool_registrar_token", None),
        ("pool_ds_delay", timedelta(days=2)),
        ("dns_port", 53),
        ("dns_addresses", ()),
        ("dns_allow_private", False),
        ("delegation_interval", timedelta(seconds=15)),
        ("clock_ahead", timedelta()),
        ("rdap_url", None),
        ("acme_issuers", ("letsencrypt.org",)),
    ],
)
def test_default_of_a_variable(field: str, expected: object) -> None:
    """With the required variables alone every other setting has the contract's default."""
    assert expected == getattr(read(REQUIRED), field)


@pytest.mark.parametrize("url", ["postgresql://u@h/d", "postgresql:///?sslmode=require"])
def test_password_of_the_database(url: str, tmp_path: Path) -> None:
    """The password may stand by itself, with any characters, and in a file; without one the DSN is as it was."""
    (tmp_path / "password").write_text("p@ss:/?&=% ä\n")
    found = read({**REQUIRED, "PDM_DATABASE_URL": url, "PDM_DATABASE_PASSWORD_FILE": str(tmp_path / "password")})
    assert parse_qs(urlsplit(found.database_url).query)["password"] == ["p@ss:/?&=% ä"]
    assert found.database_url.startswith(url)
    assert read({**REQUIRED, "PDM_DATABASE_URL": url}).database_url == url


def test_root_servers() -> None:
    """Without a setting looks begin at IANA's thirteen root servers, each by IPv4 and IPv6."""
    hints = read(REQUIRED).root_hints
    assert {hint.name for hint in hints} == {f"{letter}.root-servers.net" for letter in "abcdefghijklm"}
    assert len({hint.address for hint in hints}) == 26


@pytest.mark.parametrize(
    ("variable", "text", "field", "expected"),
    [
        ("PORT", "1", "port", 1),
        ("PORT", " 65535 ", "port", 65535),
        ("PDM_HOST", "::1", "host", "::1"),
        ("PDM_HOST", "127.8.8.8", "host", "127.8.8.8"),
        ("PDM_HOST", "localhost", "host", "localhost"),
        ("PDM_DATABASE_URL", "postgres://u@h/d", "database_url", "postgres://u@h/d"),
        ("PDM_DATABASE_URL", "postgresql:///pdm?host=/run/pg", "database_url", "postgresql:///pdm?host=/run/pg"),
        ("PDM_DATABASE_CONNECTIONS", "40", "database_connections", 40),
        ("PDM_PDNS_BASE_URL", "https://pdns.svc:8443/", "pdns_base_url", "https://pdns.svc:8443"),
        ("PDM_PDNS_BASE_URL", "http://[::1]:8081", "pdns_base_url", "http://[::1]:8081"),
        ("PDM_PDNS_SERVER_ID", "ns-1.a_b", "pdns_server_id", "ns-1.a_b"),
        ("PDM_PDNS_CONCURRENCY", "4", "pdns_concurrency", 4),
        ("PDM_POOL_DOMAINS", "b.test,A.test.", "pool_domains", ("a.test", "b.test")),
        ("PDM_POOL_DOMAINS", " b.test  a.test,\n c.test ,", "pool_domains", ("a.test", "b.test", "c.test")),
        ("PDM_POOL_DOMAINS", "a.test A.TEST", "pool_domains", ("a.test",)),
        ("DYNADOT_MANAGED_DOMAINS", "omani.works, x.test", "pool_domains", ("omani.works", "x.test")),
        ("PDM_NAMESERVERS", "NS2.x.test. ns1.x.test", "nameservers", ("ns2.x.test", "ns1.x.test")),
        ("PDM_NAMESERVER_ADDRESSES", "192.0.2.1", "nameserver_addresses", (Nameserver("", "192.0.2.1", 53),)),
        (
            "PDM_NAMESERVER_ADDRESSES", "ns1.x.test=192.0.2.1:5300,ns2.x.test=[2001:db8::1]:54 2001:db8::2",
            "nameserver_addresses",
            (
                Nameserver("ns1.x.test", "192.0.2.1", 5300), Nameserver("ns2.x.test", "2001:db8::1", 54),
                Nameserver("", "2001:db8::2", 53),
            ),
        ),
        ("PDM_RESERVATION_TTL", "90s", "reservation_ttl", timedelta(seconds=90)),
        ("PDM_RESERVATION_TTL", "2h", "reservation_ttl", timedelta(hours=2)),
        ("PDM_RESERVATION_MAX_AGE", "7d", "ages", Ages(reservation=timedelta(days=7))),
        ("PDM_PROOF_MAX_AGE", "2h", "ages", Ages(proof=timedelta(hours=2))),
        ("PDM_CLAIMS_PER_MINUTE", "0", "limits", Limits(claims=0, renewals=600, preflights=30, observations=60)),
        ("PDM_RENEWALS_PER_MINUTE", "7", "limits", Limits(claims=60, renewals=7, preflights=30, observations=60)),
        ("PDM_PREFLIGHTS_PER_MINUTE", "7", "limits", Limits(claims=60, renewals=600, preflights=7, observations=60)),
        ("PDM_OBSERVATIONS_PER_MINUTE", "7", "limits", Limits(claims=60, renewals=600, preflights=30, observations=7)),
        ("PDM_RECONCILE_INTERVAL", "1s", "reconcile_interval", timedelta(seconds=1)),
        ("PDM_AUDIT_INTERVAL", "1d", "audit_interval", timedelta(days=1)),
        ("PDM_LEASE", "3s", "lease", timedelta(seconds=3)),
        ("PDM_DRAIN_TIMEOUT", "3s", "drain", timedelta(seconds=3)),
        ("PDM_LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("PDM_REGISTRAR_OVH_URL", "http://127.0.0.1:9/1.0/", "registrar_urls", {"ovh": "http://127.0.0.1:9/1.0"}),
        (
            "PDM_REGISTRAR_OVH_ENDPOINT", "OVH-CA", "registrar_options",
            {"namecheap": {"CLIENT_IP": None}, "ovh": {"ENDPOINT": "ovh-ca"}},
        ),
        (
            "PDM_REGISTRAR_NAMECHEAP_CLIENT_IP", "192.0.2.1", "registrar_options",
            {"namecheap": {"CLIENT_IP": "192.0.2.1"}, "ovh": {"ENDPOINT": "ovh-eu"}},
        ),
        ("PDM_POOL_DS_DELAY", "1d", "pool_ds_delay", timedelta(days=1)),
        ("PDM_DNS_ROOT_HINTS", "a.root.test=192.0.2.1", "root_hints", (Nameserver("a.root.test", "192.0.2.1", 53),)),
        ("PDM_DNS_ROOT_HINTS", "none", "root_hints", ()),
        ("PDM_DNS_PORT", "5300", "dns_port", 5300),
        ("PDM_DNS_ADDRESSES", "ns.x.test=192.0.2.1:54", "dns_addresses", (Nameserver("ns.x.test", "192.0.2.1", 54),)),
        ("PDM_DNS_ALLOW_PRIVATE", "Yes", "dns_allow_private", True),
        ("PDM_DELEGATION_INTERVAL", "1s", "delegation_interval", timedelta(seconds=1)),
        ("PDM_CLOCK_AHEAD", "2h", "clock_ahead", timedelta(hours=2)),
        ("PDM_CLOCK_AHEAD", "0s", "clock_ahead", timedelta()),
        ("PDM_RDAP_URL", "none", "rdap_url", ""),
        ("PDM_RDAP_URL", "https://rdap.test/", "rdap_url", "https://rdap.test"),
        ("PDM_ACME_ISSUERS", "pki.test, letsencrypt.org", "acme_issuers", ("pki.test", "letsencrypt.org")),
    ],
)  # fmt: skip
def test_variable_with_a_good_value(variable: str, text: str, field: str, expected: object) -> None:
    """Each variable is read into its field, in its normal form."""
    assert expected == getattr(read({**REQUIRED, variable: text}), field)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        *(("PORT", text) for text in ("0", "65536", "-1", "http", "80 80", "８０", "1e3", "9" * 5000)),
        *(("PDM_HOST", text) for text in ("0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1:80")),
        *(("PDM_DATABASE_URL", text) for text in ("mysql://h/d", "h/d", "/run/pg", "postgresql", "http://h/d")),
        *(("PDM_DATABASE_CONNECTIONS", text) for text in ("0", "201", "x")),
        *(
            ("PDM_PDNS_BASE_URL", text)
            for text in ("ftp://h", "h:8081", "http://", "http://u:p@h", "http://[::1", "http://h:port", "http://h:99999")
        ),
        *(("PDM_PDNS_API_KEY", text) for text in ("a\nb", "schlüssel", "a\x00b")),
        *(("PDM_PDNS_SERVER_ID", text) for text in ("a/b", "..?", "a b")),
        *(("PDM_PDNS_CONCURRENCY", text) for text in ("0", "many")),
        *(("PDM_POOL_DOMAINS", text) for text in (",", "test", "a..b", "a.test;b.test", "ä.test", "x" * 60 + ".y" * 70)),
        ("DYNADOT_MANAGED_DOMAINS", "test"),
        *(("PDM_NAMESERVERS", text) for text in (",", "ns1", "192.0.2.1x.y_z")),
        *(("PDM_NAMESERVER_ADDRESSES", text) for text in ("ns1.x.test", "x=192.0.2.1", "192.0.2.1:0", "[::1]:x", "::1]:53")),
        *(
            (f"PDM_{name}", text)
            for name in ("RESERVATION_TTL", "RECONCILE_INTERVAL", "AUDIT_INTERVAL", "DRAIN_TIMEOUT", "LEASE")
            for text in ("30", "0s", "-1s", "1.5h", "1w", "1 m", "m", "９s", "99999999s")
        ),
        ("PDM_LEASE", "2s"),
        ("PDM_LEASE", "6m"),
        *(("PDM_LOG_LEVEL", text) for text in ("trace", "20", "infos")),
        *((f"PDM_REGISTRAR_{name}_URL", "ftp://x") for name in ("CLOUDFLARE", "DYNADOT", "GODADDY", "NAMECHEAP", "OVH")),
        ("PDM_REGISTRAR_OVH_ENDPOINT", "ovh-mars"),
        ("PDM_REGISTRAR_NAMECHEAP_CLIENT_IP", "2001:db8::1"),
        ("PDM_POOL_REGISTRAR", "gandi"),
        ("PDM_POOL_REGISTRAR_TOKEN", "a\nb"),
        ("PDM_POOL_DS_DELAY", "0s"),
        *(("PDM_DNS_ROOT_HINTS", text) for text in ("192.0.2.1", "a.root.test", "a.root.test=x")),
        *(("PDM_DNS_ADDRESSES", text) for text in ("192.0.2.1", "none")),
        ("PDM_DNS_PORT", "0"),
        ("PDM_DNS_ALLOW_PRIVATE", "maybe"),
        ("PDM_DELEGATION_INTERVAL", "0s"),
        ("PDM_CLOCK_AHEAD", "soon"),
        ("PDM_RDAP_URL", "ftp://x"),
        ("PDM_ACME_ISSUERS", "a_b"),
    ],
)  # fmt: skip
def test_variable_with_a_bad_value(variable: str, text: str) -> None:
    """A value that cannot be used is one fault in one line, which names the variable."""
    found = faults(**{variable: text})
    assert len(found) == 1
    named = "PDM_POOL_DOMAINS" if variable == "DYNADOT_MANAGED_DOMAINS" else variable
    assert found[0].startswith((f"{variable}: ", f"{named}: "))


@pytest.mark.parametrize("variable", sorted(REQUIRED))
@pytest.mark.parametrize("text", [None, "", "  "])
def test_required_variable_missing(variable: str, text: str | None) -> None:
    """A required variable that is not there, or blank, is a fault that names it."""
    environment = {key: value for key, value in REQUIRED.items() if key != variable}
    if text is not None:
        environment[variable] = text
    with pytest.raises(SettingsError) as error:
        read(environment)
    assert str(error.value) == f"{variable}: missing"


def test_several_faults() -> None:
    """All faults are told at once, a line each."""
    with pytest.raises(SettingsError) as error:
        read({"PORT": "x", "PDM_LEASE": "x", "PDM_POOL_DOMAINS": "x", "PDM_HOST": "0.0.0.0", "PDM_LOG_LEVEL": "x"})
    told = [line.partition(":")[0] for line in str(error.value).splitlines()]
    expected = {"PORT", "PDM_LEASE", "PDM_POOL_DOMAINS", "PDM_HOST", "PDM_LOG_LEVEL", *REQUIRED}
    assert len(told) == len(expected)
    assert set(told) == expected


def test_managed_domains_beside_pool_domains() -> None:
    """The older variable counts only where PDM_POOL_DOMAINS is not given."""
    found = read({**REQUIRED, "PDM_POOL_DOMAINS": "new.test", "DYNADOT_MANAGED_DOMAINS": "old.test"})
    assert found.pool_domains == ("new.test",)
    found = read({**REQUIRED, "PDM_POOL_DOMAINS": "", "DYNADOT_MANAGED_DOMAINS": "old.test"})
    assert found.pool_domains == ("old.test",)


@pytest.mark.parametrize("variable", sorted(REQUIRED))
def test_secret_in_a_file(variable: str, tmp_path: Path) -> None:
    """Every secret can be given as a file, whose last newline does not belong to it."""
    file = tmp_path / "secret"
    file.write_text(REQUIRED[variable] + "\n")
    environment = {key: value for key, value in REQUIRED.items() if key != variable}
    assert read({**environment, f"{variable}_FILE": str(file)}) == read(REQUIRED)


def test_secret_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, is a directory, is empty or no text is a fault that names the variable."""
    rest = {key: value for key, value in REQUIRED.items() if key != "PDM_PDNS_API_KEY"}
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", ".", "empty", "binary"):
        with pytest.raises(SettingsError) as error:
            read({**rest, "PDM_PDNS_API_KEY_FILE": str(tmp_path / name)})
        (line,) = str(error.value).splitlines()
        assert line.startswith("PDM_PDNS_API_KEY")


def test_repr_of_settings() -> None:
    """What ends up in a log or a traceback shows no secret."""
    settings = read(REQUIRED)
    assert isinstance(settings, Settings)
    for shown in (repr(settings), str(settings), f"{settings}", f"{settings!r}", repr([settings])):
        assert "marked" not in shown


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PDM_DATABASE_URL", "mysql://pdm:marked-secret@h/d"),
        ("PDM_DATABASE_URL", "postgresql://pdm:marked-secret@[h/d"),
        ("PDM_DATABASE_URL", "postgresql://pdm:marked-secret℀@h/d"),
        ("PDM_PDNS_API_KEY", "marked-secret-ü"),
        ("PDM_PDNS_BASE_URL", "http://pdm:marked-secret@h:8081"),
        ("PDM_PDNS_BASE_URL", "http://pdm:marked-secret℀@h:8081"),
    ],
)
def test_fault_in_a_secret(variable: str, text: str) -> None:
    """A fault names the variable and never tells its value."""
    found = faults(**{variable: text})
    assert len(found) == 1
    assert found[0].startswith(f"{variable}: ")
    assert "marked" not in found[0]


def test_start_with_faults() -> None:
    """A start with faults ends with code 2 and nothing but one line a fault on standard error."""
    ended = start(PORT="http", PDM_PDNS_API_KEY="")
    assert ended.returncode == 2
    assert [line.partition(":")[0] for line in ended.stderr.splitlines()] == ["PORT", "PDM_PDNS_API_KEY"]
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://pdm:marked/secret@127.0.0.1:1/pdm",
        "postgresql://pdm:marked#secret@127.0.0.1:1/pdm",
        "postgresql://pdm:x@127.0.0.1:port/pdm",
        "postgresql://pdm:x@127.0.0.1:99999/pdm",
        "postgresql://pdm:x@127.0.0.1:1/pdm?sslmode=maybe",
    ],
)
def test_start_with_a_database_url_that_cannot_be_used(text: str) -> None:
    """A DSN that no driver can read stops the start with one line that names the variable and tells no value."""
    ended = start(PDM_DATABASE_URL=text)
    assert ended.returncode == 2
    assert "marked" not in ended.stderr + ended.stdout
    (line,) = ended.stderr.splitlines()
    assert line.startswith("PDM_DATABASE_URL: ")


@pytest.mark.parametrize(
    ("given", "named"),
    [({"PDM_POOL_REGISTRAR": "dynadot"}, "PDM_POOL_REGISTRAR_TOKEN"), ({"PDM_POOL_REGISTRAR_TOKEN": "k"}, "PDM_POOL_REGISTRAR")],
)  # fmt: skip
def test_half_a_pool_registrar(given: dict[str, str], named: str) -> None:
    """A pool registrar needs its name and its token; whichever is missing is named."""
    (fault,) = faults(**given)
    assert fault.startswith(f"{named}: missing")


def test_pool_registrar_token_from_a_file(tmp_path: Path) -> None:
    """The token may come from a file, and is in no text of the settings."""
    (tmp_path / "token").write_text("marked-token\n")
    settings = read(
        {**REQUIRED, "PDM_POOL_REGISTRAR": "Dynadot", "PDM_POOL_REGISTRAR_TOKEN_FILE": str(tmp_path / "token")}
    )
    assert (settings.pool_registrar, settings.pool_registrar_token) == ("dynadot", "marked-token")
    assert "marked" not in repr(settings)


@pytest.fixture
def tls_files(tmp_path: Path) -> dict[str, str]:
    """The settings for TLS with certificates of clients."""
    authority = Authority(tmp_path)
    cert, key = authority.pair("pdm.test")
    callers = tmp_path / "callers.jsonl"
    callers.write_text('{"id": "a", "certificate": "a.test", "scopes": ["check"]}')
    return {
        "PDM_TLS_CERT_FILE": str(cert),
        "PDM_TLS_KEY_FILE": str(key),
        "PDM_TLS_CLIENT_CA_FILE": str(authority.file),
        "PDM_AUTH_TOKENS_FILE": str(callers),
    }


@pytest.mark.parametrize(
    ("without", "named"),
    [
        (["PDM_TLS_CERT_FILE"], "PDM_TLS_CERT_FILE"),
        (["PDM_TLS_KEY_FILE"], "PDM_TLS_KEY_FILE"),
        (["PDM_TLS_CERT_FILE", "PDM_TLS_KEY_FILE"], "PDM_TLS_CERT_FILE"),
        (["PDM_AUTH_TOKENS_FILE"], "PDM_AUTH_TOKENS_FILE"),
    ],
)
def test_half_of_tls(tls_files: dict[str, str], without: list[str], named: str) -> None:
    """A certificate without its key, a CA of clients without a certificate, or without clients: each is a fault."""
    assert faults(**tls_files) == []
    (fault,) = faults(**{name: value for name, value in tls_files.items() if name not in without})
    assert fault.startswith(f"{named}: missing")


@pytest.mark.parametrize("broken", ["PDM_TLS_CERT_FILE", "PDM_TLS_KEY_FILE", "PDM_TLS_CLIENT_CA_FILE"])
@pytest.mark.parametrize("content", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_broken_file_for_tls(tls_files: dict[str, str], broken: str, content: str) -> None:
    """A file that is none of what TLS needs is told at the start, without what stands in it."""
    Path(tls_files[broken]).write_text(content)
    (fault,) = faults(**tls_files)
    assert Path(tls_files[broken]).name in fault
    assert "AAAA" not in fault


def test_key_of_another_certificate(tls_files: dict[str, str], tmp_path: Path) -> None:
    """A certificate and a key that do not belong together are a fault."""
    (fault,) = faults(**{**tls_files, "PDM_TLS_KEY_FILE": str(Authority(tmp_path / "x").pair("pdm.test")[1])})
    assert "key values mismatch" in fault


def test_key_with_a_password(tls_files: dict[str, str]) -> None:
    """Nobody is asked for the password of a key, at a terminal either: it is a fault."""
    path = Path(tls_files["PDM_TLS_KEY_FILE"])
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    near, far = os.openpty()
    ended = subprocess.run(
        [PDM, "serve"], env={"PATH": os.environ["PATH"], **REQUIRED, **tls_files}, stdin=far, capture_output=True,
        text=True, timeout=patient(10), start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(near)
    os.close(far)
    assert ended.returncode == 2
    assert "PDM_TLS_KEY_FILE" in ended.stderr


def test_ca_of_powerdns(tls_files: dict[str, str], tmp_path: Path) -> None:
    """A file without a certificate is told at the start."""
    assert faults(PDM_PDNS_CA_FILE=tls_files["PDM_TLS_CLIENT_CA_FILE"]) == []
    empty = tmp_path / "empty"
    empty.touch()
    (fault,) = faults(PDM_PDNS_CA_FILE=str(empty))
    assert fault.startswith("PDM_PDNS_CA_FILE: empty has no certificate of a CA")


def test_tls_alone_opens_no_other_address(tls_files: dict[str, str]) -> None:
    """Without a file of callers only loopback is listened on, over TLS as well."""
    pair = {name: tls_files[name] for name in ("PDM_TLS_CERT_FILE", "PDM_TLS_KEY_FILE")}
    assert faults(**pair) == []
    (fault,) = faults(**pair, PDM_HOST="0.0.0.0")
    assert fault.startswith("PDM_HOST: ")
