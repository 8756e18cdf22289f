"""What an answer of a nameserver may be before it is parsed. Pure, and linear in the bytes that came.

dnspython's time for a name grows with the square of its labels, and compression makes a name of 127 labels of two
bytes (RFC 1035 section 4.1.4): a datagram could keep the process busy for seconds. So names are counted here first.
"""

import struct
from collections.abc import Callable

MAX_RECORDS = 400
"""In one message; the largest known answer, of a TLD with 13 nameservers and their addresses, signed, has 60."""
MAX_LABELS = 40
"""In one name; a name of ip6.arpa has 34."""
MAX_WORK = 3000
"""Labels in all names of a message."""
_MAX_HOPS = 16
_IN, _OPT = 1, 41
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")


class Refused(Exception):
    """A message that is not parsed; its text says why, in words without anything from the message."""


def answers(wire: bytes, query: bytes) -> bool:
    """Return whether a message answers a query: its id and question, whatever the case of letters, and QR."""
    if len(wire) < 12 or wire[:2] != query[:2] or not wire[2] & 0x80 or (wire[2] ^ query[2]) & 0x78:
        return False
    end = 12
    while end < len(query) and query[end]:
        end += query[end] + 1
    end += 5
    # An error may come without a question (RFC 9619 allows one or none).
    return (wire[4:6] == b"\0\1" and wire[12:end].lower() == query[12:end].lower()) or (
        wire[4:6] == b"\0\0" and bool(wire[3] & 0x0F)
    )


def begins_with_soa(wire: bytes) -> bool:
    """Return whether a message is no error, and its first record a SOA."""
    if wire[3] & 0x0F or wire[6:8] == b"\0\0":
        return False
    try:
        names = _Names(wire)
        behind = names.skip(names.skip(12) + 4 if wire[4:6] == b"\0\1" else 12)
    except Refused:
        return False
    return wire[behind : behind + 2] == b"\0\x06"


def check(wire: bytes) -> None:
    """Raise Refused for a message that is malformed, or whose names cost more than an honest one's."""
    if len(wire) < 12:
        raise Refused("its answer is too short")
    _, _, questions, *counts = _HEADER.unpack_from(wire)
    records = sum(counts)
    if questions > 1 or records > MAX_RECORDS:
        raise Refused("its answer has too many records")
    names = _Names(wire)
    position = 12
    for _ in range(questions):
        position = names.skip(position) + 4
    for _ in range(records):
        position = names.skip(position)
        if position + _RECORD.size > len(wire):
            raise Refused("its answer is cut")
        rtype, rclass, _, length = _RECORD.unpack_from(wire, position)
        position += _RECORD.size
        if position + length > len(wire):
            raise Refused("its answer is cut")
        if rtype not in _DATA or (rclass != _IN and rtype != _OPT):
            raise Refused("its answer has records of a type or class that nobody asked for")
        _DATA[rtype](names, position)
        position += length


class _Names:
    """The names of one message, and how many labels they may still have."""

    def __init__(self, wire: bytes) -> None:
        self._wire = wire
        self._left = MAX_WORK

    def skip_strings(self, position: int, count: int) -> int:
        """Return the position behind so many character-strings (RFC 1035 section 3.3)."""
        for _ in range(count):
            if position >= len(self._wire):
                raise Refused("its answer is cut")
            position += self._wire[position] + 1
        return position

    def skip(self, position: int) -> int:
        """Return the position behind a name; raises Refused for one that is too long or too deep."""
        labels = hops = 0
        behind = 0
        while True:
            if position >= len(self._wire):
                raise Refused("its answer is cut")
            length = self._wire[position]
            if length >= 0xC0:
                if position + 1 >= len(self._wire):
                    raise Refused("its answer is cut")
                behind = behind or position + 2
                target = (length & 0x3F) << 8 | self._wire[position + 1]
                hops += 1
                if target >= position or hops > _MAX_HOPS:
                    raise Refused("its answer has names that point in circles")
                position = target
            elif length >= 0x40:
                raise Refused("its answer has a malformed name")
            elif length:
                labels += 1
                self._left -= 1
                if labels > MAX_LABELS or self._left < 0:
                    raise Refused("its answer has names with too many labels")
                position += length + 1
            else:
                return behind or position + 1


def _nothing(_: _Names, __: int) -> None:
    """Pass data without names."""


def _naptr(names: _Names, position: int) -> None:
    """Pass order, preference, three character-strings and a name (RFC 3403 section 4.1)."""
    names.skip(names.skip_strings(position + 4, 3))


def _names(count: int, offset: int = 0) -> Callable[[_Names, int], None]:
    """Return what passes data with names, which stand behind so many bytes."""

    def skip(names: _Names, position: int) -> None:
        position += offset
        for _ in range(count):
            position = names.skip(position)

    return skip


# By type (IANA's registry): those that zones have, and that the service asks for.
_DATA: dict[int, Callable[[_Names, int], None]] = {
    **dict.fromkeys((2, 5, 12, 39), _names(1)),  # NS, CNAME, PTR, DNAME
    6: _names(2),  # SOA
    15: _names(1, 2),  # MX
    17: _names(2),  # RP
    33: _names(1, 6),  # SRV
    46: _names(1, 18),  # RRSIG
    47: _names(1),  # NSEC
    35: _naptr,
    **dict.fromkeys((64, 65), _names(1, 2)),  # SVCB, HTTPS
    # A, HINFO, TXT, AAAA, LOC, OPT, DS, SSHFP, DNSKEY, NSEC3, NSEC3PARAM, TLSA, SMIMEA, CDS, CDNSKEY, OPENPGPKEY,
    # CSYNC, ZONEMD, SPF, URI, CAA
    **dict.fromkeys((1, 13, 16, 28, 29, 41, 43, 44, 48, 50, 51, 52, 53, 59, 60, 61, 62, 63, 99, 256, 257), _nothing),
}
