"""Certificates of clients: which names one proves, and that it proves them no longer than it is valid."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pdm_service import callers
from pdm_service.callers import Scope
from pdm_service.callers.certificates import Certificate, shown
from pdm_service.callers.gate import Gate
from pdm_service.errors import Unauthenticated

NOW = datetime.now(UTC)
SUBJECT = ((("organizationName", "acme"),), (("commonName", "acme.test"),))


@pytest.mark.parametrize(
    ("alternatives", "names"),
    [
        ((("DNS", "a.test"), ("URI", "spiffe://a"), ("DNS", "a.test")), ("a.test", "spiffe://a")),
        ((("IP Address", "192.0.2.1"), ("email", "a@a.test"), ("DNS", "a.test")), ("a.test",)),
        ((("IP Address", "192.0.2.1"),), ()),
        ((), ("acme.test",)),
    ],
    ids=["both kinds", "others are no names", "no common name beside others", "a common name alone"],
)
def test_names(alternatives: tuple[Any, ...], names: tuple[str, ...]) -> None:
    """They are the DNS names and URIs; the common name where there is no subjectAltName at all."""
    peer = {"subject": SUBJECT, "subjectAltName": alternatives, "notAfter": "Jan  5 09:34:43 2031 GMT"}
    assert shown(peer) == Certificate(names, datetime(2031, 1, 5, 9, 34, 43, tzinfo=UTC))


def test_certificate_without_a_name() -> None:
    """One that has no name at all proves nothing."""
    assert shown({"notAfter": "Jan  5 09:34:43 2031 GMT"}).names == ()


@pytest.mark.parametrize("anonymous", [False, True])
async def test_certificate_that_expires_on_an_open_connection(*, anonymous: bool) -> None:
    """A request after its end is refused, though the handshake was before it; the metric counts it."""
    text = '{"id": "a", "certificate": "a.test", "scopes": ["check"]}'
    reasons: list[str] = []
    gate = Gate(lambda: callers.read(text), None, anonymous=anonymous, observe=reasons.append)
    needed = frozenset({Scope.CHECK})
    valid = Certificate(("a.test",), NOW + timedelta(days=1))
    assert (await gate.admit(None, "", needed, compat=True, certificate=valid)).id == "a"
    with pytest.raises(Unauthenticated, match="has expired; connect again"):
        await gate.admit(None, "", needed, compat=True, certificate=Certificate(("a.test",), NOW))
    assert reasons == ["invalid"]
