"""The certificate that a client showed when it connected: which names it proves, and until when.

Its CA and its dates were verified then (`tls.serving`).
"""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

_NAMES = {"DNS", "URI"}


class Certificate(Struct, frozen=True):
    """What a client's certificate says."""

    names: tuple[str, ...]
    until: datetime

    @property
    def expired(self) -> bool:
        """Return whether it has expired since the client connected."""
        return self.until <= datetime.now(UTC)


def shown(peer: Mapping[str, Any]) -> Certificate:
    """Return what a certificate says, given as `ssl.SSLSocket.getpeercert` does.

    Its names are the DNS names and URIs among its subjectAltNames. A certificate that has none of any kind is known
    by its common name (RFC 6125 section 6.4.4).
    """
    alternatives = peer.get("subjectAltName", ())
    common = (value for part in peer.get("subject", ()) for kind, value in part if kind == "commonName")
    names = (value for kind, value in alternatives if kind in _NAMES) if alternatives else common
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(peer["notAfter"]), UTC)
    return Certificate(tuple(dict.fromkeys(names)), until)
