"""Names, texts and addresses: what is taken, in which form it is kept, and what is refused."""

import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pdm_service import names
from pdm_service.errors import (
    InvalidAddress,
    InvalidFormat,
    InvalidText,
    MissingAddress,
)

LDH = string.ascii_lowercase + string.digits + "-"
LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
HOST = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(HOST, min_size=2, max_size=5).filter(lambda labels: not labels[-1].isdecimal()).map(".".join)


def taken(text: str) -> str | None:
    """The label that `text` stands for, None if it is refused."""
    try:
        return names.label(text)
    except InvalidFormat:
        return None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("omantel", "omantel"),
        ("OmanTel", "omantel"),
        ("  omantel\t", "omantel"),
        ("omantel.", "omantel"),
        (" A-1. ", "a-1"),
        ("a", "a"),
        ("a" * 63, "a" * 63),
    ],
)
def test_label_of_any_spelling(text: str, expected: str) -> None:
    """A label is taken in any case, with blanks around it and with a trailing dot."""
    assert expected == names.label(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ".", "..", "a..", "1a", "-a", "a-", "a_b", "a.b", "a b", "a" * 64, "xn--bcher-kva", "*", "@", "a\x00",
        "a\nb", "ä", "\u212aelvin", "ａ", "a\u200b", "\ud800", "192", "a/b", "a%62", "a\\.b",
    ],
)  # fmt: skip
def test_label_that_is_no_label(text: str) -> None:
    """What is not one LDH label with a letter first is refused, A-labels included."""
    with pytest.raises(InvalidFormat):
        names.label(text)


@given(st.text(alphabet=st.characters(exclude_characters=LDH), min_size=1, max_size=3), st.text(LDH, max_size=9))
def test_label_with_a_character_beyond_ldh(strange: str, rest: str) -> None:
    """A character that is not a letter, digit or hyphen inside a label is never swallowed."""
    assume(strange.lower() not in LDH or not strange.isascii())
    assert taken(f"a{strange}{rest}z") is None or (strange.isascii() and strange.isalpha())


@given(st.text(max_size=70))
def test_label_of_any_text(text: str) -> None:
    """Whatever is taken is a label of lower-case LDH, and taking it again changes nothing."""
    if (found := taken(text)) is not None:
        assert LABEL.fullmatch(found)
        assert found == names.label(found)


@given(st.from_regex(LABEL, fullmatch=True))
def test_label_of_any_spelling_is_one(label: str) -> None:
    """All spellings of a label are one label."""
    assume("--" not in label)
    assert {label} == {names.label(one) for one in (label, label.upper(), f" {label} ", f"{label}.", f"\t{label}.\n")}


@given(DOMAINS)
def test_domain_of_any_spelling_is_one(domain: str) -> None:
    """All spellings of a domain are one domain, and normalising is idempotent."""
    assert {domain} == {names.domain(one) for one in (domain, domain.upper(), f" {domain}. ", names.domain(domain))}


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "com", "a..b", ".a.b", "a.b..", "-a.b", "a-.b", "a_b.c", "a b.c", "a.b/c", "*.a.b", "a.b\x00",
        "192.0.2.1", "1.2.3.4.5", "example.123", "a.0", "bücher.de", "a.ⓑ", f"{'a' * 64}.b", ".".join(["a" * 49] * 6), "\ud800.a",
    ],
)  # fmt: skip
def test_domain_that_is_no_domain(text: str) -> None:
    """What is not two or more LDH labels within 253 characters is refused."""
    with pytest.raises(InvalidFormat):
        names.domain(text)


def test_domain_at_its_longest() -> None:
    """253 characters are taken, 254 are not."""
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(longest) == 253
    assert longest == names.domain(longest)
    with pytest.raises(InvalidFormat):
        names.domain(longest + "d")


def test_split_directly_under_a_pool_domain_only() -> None:
    """A name belongs to the pool domain that it lies directly under."""
    pools = frozenset({"omani.works", "eu.omani.works"})
    assert names.split("acme.omani.works", pools) == ("acme", "omani.works")
    assert names.split("acme.eu.omani.works", pools) == ("acme", "eu.omani.works")
    assert names.split("a.acme.omani.works", pools) is None
    assert names.split("omani.works", pools) is None


def overlap(one: str, other: str) -> bool:
    """Do the spans of two names overlap, in byte order as the database compares them?"""
    (low, high), (low2, high2) = names.span(one), names.span(other)
    return max(low, low2).encode() < min(high, high2).encode()


@given(st.lists(st.text("ab-.0", min_size=1, max_size=7), min_size=2, max_size=2))
def test_spans_of_two_names_overlap_exactly_where_one_covers_the_other(pair: list[str]) -> None:
    """Spans overlap if, and only if, one name is the other or lies above it."""
    one, other = (re.sub(r"\.+", ".", text).strip(".") or "a" for text in pair)
    assert overlap(one, other) == (names.covers(one, other) or names.covers(other, one))


@given(DOMAINS, DOMAINS)
def test_spans_of_a_name_and_its_kin(domain: str, prefix: str) -> None:
    """A name's span contains those of the names below it, and none of its neighbours'."""
    below = f"{prefix}.{domain}"
    assert names.covers(domain, below)
    assert overlap(domain, below)
    assert not overlap(below, f"x{below}")
    assert not overlap(domain, f"x{domain}")
    assert not overlap(domain, f"{domain}x")
    assert not overlap(domain, f"{domain}-x")


@pytest.mark.parametrize("value", ["", "wizard", "Jürgen's caller №1", "x" * 200, "a b"])
def test_text_that_is_printable(value: str) -> None:
    """A free text of up to 200 printable characters stays as it is."""
    assert value == names.text("createdBy", value)


@pytest.mark.parametrize(
    "value", ["x" * 201, "{", "}", "${name}", "a\nb", "\x00", "a\tb", "\x7f", "\ud800", "\u202e", "\u200b", "\x1b[31m"]
)
def test_text_that_is_refused(value: str) -> None:
    """Over 200 characters, braces and what cannot be printed are refused, and the field is named."""
    with pytest.raises(InvalidText) as refusal:
        names.text("createdBy", value)
    assert "createdBy" in refusal.value.detail


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["192.0.2.1"], ("192.0.2.1",)),
        ([" 192.0.2.1\n"], ("192.0.2.1",)),
        (["2001:DB8:0:0::0001"], ("2001:db8::1",)),
        (["2001:db8::2", "192.0.2.1", "2001:DB8::2"], ("2001:db8::2", "192.0.2.1")),
        (["10.0.0.1", "fd00::1"], ("10.0.0.1", "fd00::1")),
        ([f"192.0.2.{n}" for n in range(16)], tuple(f"192.0.2.{n}" for n in range(16))),
    ],
)
def test_addresses_in_canonical_form(values: list[str], expected: tuple[str, ...]) -> None:
    """Addresses are kept in canonical form, in the order given and without repeats."""
    assert expected == names.addresses(values)


@pytest.mark.parametrize(
    "value",
    [
        "", "0.0.0.0", "::", "127.0.0.1", "127.9.9.9", "::1", "224.0.0.1", "ff02::1", "169.254.0.1", "fe80::1",
        "fe80::1%eth0", "2001:db8::1%1", "::ffff:192.0.2.1", "255.255.255.255", "240.0.0.1", "fec0::1", "example.org",
        "192.0.2.1/32", "192.0.2.1:80", "[2001:db8::1]", "192.0.2.010", "0xc0000201", "3221225985", "1.2.3", "1.2.3.4.5",
        "１92.0.2.1", "\x00", "\ud800",
    ],
)  # fmt: skip
def test_address_that_no_load_balancer_has(value: str) -> None:
    """What is not a plain unicast address that others can reach is refused."""
    with pytest.raises(InvalidAddress):
        names.addresses(["192.0.2.7", value])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("0.1.2.3", "stands for this network"), ("0.0.0.0", "stands for this network"), ("127.0.0.1", "loopback"),
        ("168.63.129.16", "Azure"), ("169.254.169.254", "link-local"), ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"), ("::", "unspecified"), ("::1", "loopback"), ("::ffff:192.0.2.1", "IPv4-mapped"),
        ("fd00:ec2::254", "Amazon"), ("fd20:ce::254", "Google"), ("fe80::1", "link-local"), ("fec0::1", "site-local"),
        ("ff02::1", "multicast"), ("fe80::1%eth0", "zone"), ("2002:a00:1::1", "leads to 10.0.0.1"),
        ("2002:a9fe:a9fe::1", "leads to 169.254.169.254"), ("2002:7f00:1::", "leads to 127.0.0.1"),
        ("64:ff9b::192.168.0.1", "leads to 192.168.0.1"), ("64:ff9b::127.0.0.1", "leads to 127.0.0.1"),
        ("::2", "reserved"), ("4000::1", "reserved"),
    ],
)  # fmt: skip
def test_refused_address_says_why(value: str, why: str) -> None:
    """The sentence has the reason."""
    with pytest.raises(InvalidAddress, match=why):
        names.addresses([value])


@pytest.mark.parametrize(
    "value", ["10.0.0.1", "100.64.0.1", "fd00::1", "2002:c633:6407::1", "168.63.129.17", "1.0.0.0"]
)
def test_address_that_a_load_balancer_may_have(value: str) -> None:
    """Private addresses are some platform's own; what only resembles a refused one is taken."""
    assert names.addresses([value]) == (value,)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2001:4860:4860::8888", True), ("10.0.0.1", False), ("127.0.0.1", False),
        ("0.0.0.0", False), ("169.254.1.1", False), ("100.64.0.1", False), ("192.0.2.1", False), ("224.0.0.1", False),
        ("::1", False), ("fe80::1", False), ("fd00::1", False), ("fec0::1", False), ("ff02::1", False), ("::8.8.8.8", False),
        ("::ffff:8.8.8.8", False), ("2002:808:808::1", False), ("64:ff9b::8.8.8.8", False), ("64:ff9b:1::1", False),
        ("2001:0:808:808::1", False),
    ],
)  # fmt: skip
def test_address_that_anybody_may_reach(address: str, public: bool) -> None:
    """A nameserver is asked only where nothing of the platform's own can be."""
    assert names.is_public(address) is public


def test_addresses_too_few_and_too_many() -> None:
    """No address and more than sixteen are refused."""
    with pytest.raises(MissingAddress):
        names.addresses([])
    with pytest.raises(InvalidAddress):
        names.addresses([f"192.0.2.{n}" for n in range(17)])
