"""Registrars: every failure of the adapters has a code, and the document has every registrar and every failure."""

from pathlib import Path

import pytest

from adapters import base
from adapters.all import OURS, registrars
from adapters.base import RegistrarError
from adapters.http import Http
from pdm_service.errors import InvalidFormat, RegistrarFailure
from pdm_service.registrars import as_error, registrable

DOCUMENT = (Path(__file__).parents[2] / "docs" / "registrars.md").read_text("utf-8")
KINDS = RegistrarError.__subclasses__()


@pytest.mark.parametrize("kind", KINDS)
def test_failure_as_callers_are_told(kind: type[RegistrarError]) -> None:
    """Every kind of failure has a code of its own, keeps its sentence and its delay, and is in the document."""
    failure = kind("a sentence")
    found = as_error(failure)
    assert (found.detail, found.retry_after_seconds) == ("a sentence", failure.retry_after_seconds)
    assert f"`{found.code}` {found.status}" in DOCUMENT


def test_failure_of_a_class_that_we_do_not_know() -> None:
    """Another package's adapter may have failures of its own: below one of ours it is that, else nobody knows what was done."""

    class Suspended(base.Locked):
        pass

    class Strange(RegistrarError):
        pass

    assert (as_error(Suspended("a sentence")).code, as_error(Strange("a sentence")).code) == (
        "registry-locked",
        "outcome-unclear",
    )


def test_failures_and_codes() -> None:
    """There are as many codes as kinds of failure, and all of either are drawn in the contract's tree."""
    assert {type(as_error(kind("x"))) for kind in KINDS} == set(RegistrarFailure.__subclasses__())
    drawn = {line.split()[1] for line in (base.__doc__ or "").splitlines() if line.strip().startswith(("├──", "└──"))}
    assert drawn == {kind.__name__ for kind in KINDS}


def test_document_of_the_registrars() -> None:
    """The document has each registrar's name, title, token form and address, and says which DS can be set."""
    adapters = registrars(Http, {}, {})
    assert tuple(adapters) == tuple(OURS)
    for name, adapter in adapters.items():
        about = adapter.about
        assert about.name == name
        row = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| {about.title} (`{name}`)"))
        assert f"`{about.token_form}`" in row
        assert f"<{about.token_url}>" in DOCUMENT
        assert (
            row.rstrip(" |")
            .rpartition("|")[2]
            .strip()
            .startswith("read and set" if about.sets_ds else "read" if about.reads_ds else "no")
        )


@pytest.mark.parametrize(
    ("domain", "found"),
    [("example.com", "example.com"), (" Example.CO.uk. ", "example.co.uk"), ("foo.uk.com", "foo.uk.com")],
)
def test_registrable_domain(domain: str, found: str) -> None:
    """A registrable domain is one label below a public suffix."""
    assert registrable(domain) == found


@pytest.mark.parametrize(
    "domain", ["www.example.com", "a.b.co.uk", "co.uk", "com", "github.io", "a..b", "", "192.0.2.1x/"]
)
def test_domain_that_is_not_registrable(domain: str) -> None:
    """A sub-domain, a public suffix, and what is no domain are refused, with the domain to use where there is one."""
    with pytest.raises(InvalidFormat) as caught:
        registrable(domain)
    if domain == "www.example.com":
        assert "example.com alone" in caught.value.detail
