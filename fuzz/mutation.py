"""Make inputs of inputs that are right."""

from collections.abc import Sequence
from random import Random

_TOKENS = (
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
    b"\xff" * 8,
    b"%00",
    b"\xc0\x0c",
    b"\xc0\x00",
    b"[" * 2000,
    b"{" * 300,
    b"<a>" * 300,
    b'"' * 9,
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"null",
    b"true",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"A" * 9000,
    b"chunked",
    b"../" * 9,
)
_MOST = 5


def mutated(chance: Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds with up to five changes, each as likely: bytes, pieces, or what parsers trip over."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(0, _MOST)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 2, 8, 64)))
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] = chance.randrange(256)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end] * chance.choice((1, 2, 50))
            case 3:
                data[at:at] = chance.choice(_TOKENS)
            case 4:
                other = chance.choice(seeds)
                data[at:end] = other[chance.randrange(len(other)) :][: end - at]
            case _:
                del data[at:]
    return bytes(data)
