"""Names as people write them: what was probably meant, and how an A-label reads."""

import pytest

from pdm_service import names
from pdm_service.errors import InvalidFormat
from pdm_service.names import idn

DOT, ZERO_WIDTH, SOFT_HYPHEN = "\u3002", "\u200b", "\u00ad"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        (f"bücher{DOT}example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("https://acme.example/", "acme.example"),
        ("HTTPS://Acme.Example", "acme.example"),
        ("https://ann:secret@acme.example:8443/a/b?c=d#e", "acme.example"),
        ("//acme.example/", "acme.example"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("acme.example:443", "acme.example"),
        ("acme.example:", "acme.example"),
        ("user@acme.example", "acme.example"),
        ("mailto:user@acme.example", "acme.example"),
        ("acme.example/", "acme.example"),
        ("acme.example?x", "acme.example"),
        ("acme.example#x", "acme.example"),
        ("acme.example\\x", "acme.example"),
        ("acme.example..", "acme.example"),
        (".acme.example", "acme.example"),
        ("acme .example", "acme.example"),
        ("acme. example", "acme.example"),
        ("acme.example .", "acme.example"),
        ("*.acme.example", "acme.example"),
        ("“acme.example”", "acme.example"),
        ("<acme.example>", "acme.example"),
        ("acme.example,", "acme.example"),
        (f"{ZERO_WIDTH}acme.example", "acme.example"),
        (f"ac{SOFT_HYPHEN}me.example", "acme.example"),
    ],
)
def test_domain_that_was_meant(text: str, meant: str) -> None:
    """What surrounds a domain is no part of it, and a U-label stands for its A-label; both are suggested, not taken."""
    with pytest.raises(InvalidFormat) as refusal:
        names.domain(text)
    assert refusal.value.suggestion == meant
    assert refusal.value.detail.endswith(f"; did you mean {meant}?")
    assert names.domain(meant) == meant


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ".", "acme", "bücher", "acme example", "acme..example", "https://192.0.2.1/", "192.0.2.1:53", "http://[::1]/",
        "acme_.example", "-acme.example", "😀.example", "\u0301acme.example", "a\u200db.example", "\ud800.example",
        "@", "://", "https://", "ü" * 64 + ".example", "x" * 2000 + ".example/", "xn--\u00fc.example",
    ],
)  # fmt: skip
def test_nothing_is_guessed(text: str) -> None:
    """Where no domain is left, or no valid one, nothing is suggested."""
    with pytest.raises(InvalidFormat) as refusal:
        names.domain(text)
    assert refusal.value.suggestion is None
    assert "did you mean" not in refusal.value.detail


@pytest.mark.parametrize(
    ("text", "domain"),
    [("acme.example.", "acme.example"), (" Acme.Example ", "acme.example"), ("xn--a.example", "xn--a.example")],
)
def test_what_is_taken_as_before(text: str, domain: str) -> None:
    """One trailing dot, blanks around a name, and A-labels were taken before, and still are."""
    assert names.domain(text) == domain


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https://acme/", "acme"), ("acme:443", "acme"), ("acme/", "acme"), ("ann@acme", "acme"), ("'acme'", "acme"), ("acme..", "acme"),
        ("bücher", None), ("acme.example", None), ("https://acme.example/", None), ("acme_corp", None), ("xn--bcher-kva", None), ("9to5", None),
    ],
)  # fmt: skip
def test_label_that_was_meant(text: str, meant: str | None) -> None:
    """A label is suggested only where it could be had: never an A-label, nor a part of a longer name."""
    with pytest.raises(InvalidFormat) as refusal:
        names.label(text)
    assert refusal.value.suggestion == meant


@pytest.mark.parametrize(
    ("domain", "read"),
    [
        ("xn--bcher-kva.example", "bücher.example"),
        ("www.xn--bcher-kva.example", "www.bücher.example"),
        ("xn--fa-hia.example", "faß.example"),
        ("xn--e1afmkfd.xn--p1ai", "пример.рф"),
        ("xn--wgv71a119e.example", "日本語.example"),
        ("xn--mgbh0fb.example", "مثال.example"),
    ],
)
def test_how_a_domain_reads(domain: str, read: str) -> None:
    """A domain with A-labels is shown as people read it, and what is shown stands for it alone."""
    assert idn.unicode(domain) == read
    with pytest.raises(InvalidFormat) as refusal:
        names.domain(read)
    assert refusal.value.suggestion == domain


@pytest.mark.parametrize(
    "domain",
    [
        "acme.example",
        "xn--a.example",  # no Punycode
        "xn--.example",
        "xn--acme-.example",  # Punycode of an ASCII label
        "xn--n3h.example",  # a snowman: no letter, not valid in IDNA 2008
        "xn--bcher-2pa.example",  # an upper-case letter, which no U-label has
        "xn--bucher-xyd.example",  # u and a combining mark, which is not the normal form
        "xn--bcher-kva.xn--a",  # one label that is not valid
        "xn--80ak6aa92e.example",  # looks like apple, all in Cyrillic letters
        "xn--pypal-4ve.example",  # paypal with one Cyrillic letter
        "xn--a-ecp.example",  # a zero width joiner
    ],
)
def test_what_is_not_shown(domain: str) -> None:
    """A domain whose A-labels are not valid, do not come back the same, or look like another, is shown as it is alone."""
    assert idn.unicode(domain) is None
