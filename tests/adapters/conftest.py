"""Each registrar, played on loopback; `server` and `registrar` are the conformance suite's."""

from collections.abc import Iterator

from adapters.conformance import plugin
from adapters.conformance.played import Server
from tests.registrars import play


def playing(case: str) -> Iterator[Server]:
    """A registrar; the test fails if it was sent anything that a correct client never sends."""
    yield from plugin.playing(play(case))
