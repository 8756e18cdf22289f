"""Odd but legal records of every type that can be taken along, in presentation form (hypothesis' strategies)."""

import base64

from hypothesis import strategies as st

_BYTES = st.integers(0, 255)
_HEX = st.binary(min_size=1, max_size=300).map(bytes.hex)


def _digest(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).map(bytes.hex)


def _escaped(value: bytes) -> str:
    return (
        '"'
        + "".join(f"\\{byte:03d}" if not 0x20 < byte < 0x7F or byte in b'"\\;' else chr(byte) for byte in value)
        + '"'
    )


def _text(smallest: int = 0, largest: int = 255) -> st.SearchStrategy[str]:
    return st.binary(min_size=smallest, max_size=largest).map(_escaped)


_U8, _U16 = st.integers(0, 255), st.integers(0, 65535)
_LETTERS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFXYZ0123456789", min_size=1, max_size=12)
_HOST = st.lists(_LETTERS, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "example", "net."]))
_ANY_LABEL = st.binary(min_size=1, max_size=10).map(lambda label: "".join(f"\\{byte:03d}" for byte in label))
_NAME = st.one_of(
    _HOST,
    st.just("."),
    st.lists(st.one_of(_LETTERS, _ANY_LABEL), min_size=1, max_size=4).map(lambda one: ".".join([*one, "example."])),
)
_ANYWHERE = st.one_of(_HOST, st.just("."))
_V4 = st.integers(0, 2**32 - 1).map(lambda one: ".".join(str(one >> shift & 255) for shift in (24, 16, 8, 0)))
_V6 = st.one_of(
    st.ip_addresses(v=6).map(str),
    _V4.map(lambda one: f"::ffff:{one}"),
    _V4.map(lambda one: f"::{one}"),
    st.sampled_from(["::", "::1", "1::", "2001:db8:0:0:1:0:0:1", "0:1:2:3:4:5:6:7", "1:0:2:0:3:0:4:0"]),
)
_PLACE = st.builds(
    "{} {} {:.3f} {} {} {} {:.3f} {} {:.2f}m {} {} {}".format,
    st.integers(0, 89), st.integers(0, 59), st.integers(0, 59_999).map(lambda one: one / 1000), st.sampled_from("NS"),
    st.integers(0, 179), st.integers(0, 59), st.integers(0, 59_999).map(lambda one: one / 1000), st.sampled_from("EW"),
    st.integers(-10_000_000, 100_000_000).map(lambda one: one / 100),
    *[st.builds(lambda digit, power: f"{digit * 10**power / 100:.2f}m", st.integers(0, 9), st.integers(0, 8))] * 3,
)  # fmt: skip


@st.composite
def _service(draw: st.DrawFn) -> str:
    """Records of SVCB and HTTPS, their parameters in any order and quoted or not."""
    if draw(st.integers(0, 5)) == 0:
        return f"0 {draw(_NAME)}"
    protocols = st.text("abcdefghijklmnopqrstuvwxyz0123456789/.-_", min_size=1, max_size=8)
    alpn = draw(st.one_of(st.none(), st.lists(protocols, min_size=1, max_size=4, unique=True)))
    found = {
        "alpn": alpn and '"' + ",".join(alpn) + '"',
        "port": draw(st.one_of(st.none(), _U16.map(str))),
        "ipv4hint": draw(st.one_of(st.none(), st.lists(_V4, min_size=1, max_size=3).map(",".join))),
        "ipv6hint": draw(st.one_of(st.none(), st.lists(_V6, min_size=1, max_size=3).map(",".join))),
        "dohpath": draw(st.one_of(st.none(), st.just("/dns-query{?dns}"))),
        "key667": draw(
            st.one_of(
                st.none(),
                st.binary(min_size=1, max_size=20).filter(lambda one: not set(one) & set(b";()")).map(_escaped),
            )
        ),
    }
    words = draw(st.permutations([f"{key}={value}" for key, value in found.items() if value is not None]))
    if alpn and draw(st.booleans()):
        words = [*words, "no-default-alpn"]
    if alpn and found["port"] and draw(st.booleans()):
        words = ["mandatory=port,alpn", *words]
    return f"{draw(st.integers(1, 65535))} {draw(_NAME)} {' '.join(words)}"


_FLAGS = st.text("abcdefghijklmnopqrstuvwxyzSUAP0123456789", max_size=5)
_REGEXP = st.sampled_from(['"!^.*$!sip:info@example.com!"', r'"!^\\+441632960(.*)$!mailto:\\1@example.com!i"', '""'])

RECORDS: dict[str, st.SearchStrategy[str]] = {
    "A": _V4,
    "AAAA": _V6,
    "MX": st.builds("{} {}".format, _U16, _ANYWHERE),
    "TXT": st.lists(_text(), min_size=1, max_size=4).map(" ".join),
    "CNAME": _NAME,
    "SRV": st.builds("{} {} {} {}".format, _U16, _U16, _U16, _ANYWHERE),
    "CAA": st.builds(
        "{} {} {}".format, _U8, st.sampled_from(["issue", "issuewild", "iodef", "ISSUE", "contactemail", "tbs1"]), _text()
    ),
    "NS": _HOST,
    "HTTPS": _service(),
    "SVCB": _service(),
    "TLSA": st.one_of(
        st.builds("{} {} 0 {}".format, _U8, _U8, _HEX), st.builds("{} {} 1 {}".format, _U8, _U8, _digest(32)),
        st.builds("{} {} 2 {}".format, _U8, _U8, _digest(64)), st.builds("{} {} 255 {}".format, _U8, _U8, _HEX),
    ),
    "SSHFP": st.one_of(
        st.builds("{} 1 {}".format, _U8, _digest(20)), st.builds("{} 2 {}".format, _U8, _digest(32)),
        st.builds("{} 77 {}".format, _U8, _HEX),
    ),
    "NAPTR": st.builds('{} {} "{}" {} {} {}'.format, _U16, _U16, _FLAGS, _text(largest=40), _REGEXP, _NAME),
    "LOC": _PLACE,
    "URI": st.builds("{} {} {}".format, _U16, _U16, _text(smallest=1)),
    "DNAME": _NAME,
    "PTR": _NAME,
}  # fmt: skip
SINGLE = {"CNAME", "DNAME"}


def ech(value: bytes) -> str:
    """The parameter of Encrypted Client Hello."""
    return f"ech={base64.b64encode(value).decode()}"
