"""The file of callers: what makes no sense is refused."""

import pytest

from pdm_service import callers


@pytest.mark.parametrize(
    "line",
    [
        "", "# nothing", "{}", '{"id": "a"}', '{"id": "a", "sha256": "x", "scopes": ["check"]}',
        '{"id": "a", "sha256": "%s", "scopes": []}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "scopes": ["all"]}' % ("0" * 64),
        '{"id": "a b", "sha256": "%s", "scopes": ["check"]}' % ("0" * 64),
        '{"id": "anonymous", "sha256": "%s", "scopes": ["check"]}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "scopes": ["check"], "more": 1}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "serviceAccount": "a:b", "scopes": ["check"]}' % ("0" * 64),
        '{"id": "a", "serviceAccount": "b", "scopes": ["check"]}',
        '{"id": "a", "sha256": "%s", "scopes": ["check"], "quotas": {"names": -1}}' % ("0" * 64),
        '{"id": "a", "sha256": "%s", "scopes": ["check"], "expires": "2027-01-01T00:00:00"}' % ("0" * 64),
    ],
)  # fmt: skip
def test_callers_that_make_no_sense(line: str) -> None:
    """A wrong line is refused, and told by its number, without what stands in it."""
    with pytest.raises(ValueError, match=r"line 1|no client"):
        callers.read(line)


def line(identity: str, certificate: str, scope: str = "check") -> str:
    return f'{{"id": "{identity}", "certificate": "{certificate}", "scopes": ["{scope}"]}}'


@pytest.mark.parametrize(
    "text",
    [
        line("a", ""),
        line("a", "two words"),
        line("a", "ü.test"),
        line("a", "x" * 2049),
        line("a", "a.test").replace('"scopes"', '"serviceAccount": "a:b", "scopes"'),
        line("a", "a.test").replace('"scopes"', '"sha256": "%s", "scopes"' % ("0" * 64)),
    ],
)
def test_certificates_that_make_no_sense(text: str) -> None:
    """A certificate is a name of printable characters, and a line has that or another credential."""
    with pytest.raises(ValueError, match="line 1"):
        callers.read(text)


@pytest.mark.parametrize("other", ["a", "b"])
def test_certificate_of_two_lines(other: str) -> None:
    """A name stands in one line, also of the same client: each line has its own scopes."""
    with pytest.raises(ValueError, match=r"certificate a\.test stands in two lines"):
        callers.read(f"{line('a', 'a.test')}\n{line(other, 'a.test', 'metrics')}")


def test_clients_of_a_certificate() -> None:
    """Each name is its client's, as it is written; one client may have several."""
    found = callers.read("\n".join([line("a", "a.test"), line("a", "spiffe://a"), line("b", "b.test")]))
    assert [one.id for one in found.of_certificate(["x.test", "b.test"])] == ["b"]
    assert [one.id for one in found.of_certificate(["a.test", "spiffe://a", "b.test"])] == ["a", "a", "b"]
    assert found.of_certificate(["A.test", "a.test.", "*", "", "x.a.test"]) == []
