"""Who is calling: the credential of a request, and the client that it stands for.

Carriers, as they are seen in the field: `Bearer <key or JWT>`, a bare JWT (what a projected token file holds), and
Basic with the client's id and key (RFC 7617), which any base URL can carry. A certificate that the client
showed when it connected is a credential too.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable
from contextvars import ContextVar

from msgspec import Struct

from pdm_service.callers import clients as callers
from pdm_service.callers.buckets import Buckets, sender
from pdm_service.callers.certificates import Certificate
from pdm_service.callers.clients import EVERYBODY, NOBODY, Client, Clients, Scope
from pdm_service.callers.token_review import TokenReview
from pdm_service.errors import AuthenticationUnavailable, MissingScope, PdmError, TooManyAttempts, Unauthenticated
from pdm_service.model import tokens

CHALLENGE = 'Bearer realm="pdm", Basic realm="pdm", charset="UTF-8"'

_ATTEMPTS = 20
"""Wrong credentials from one address, before it has to wait…"""
_PER_MINUTE = 10
"""…and how many more it has in a minute."""
_MAX_CREDENTIAL = 8192
_REVIEWS_AT_ONCE, _REVIEWS_WAITING = 4, 24
"""Of one sender's tokens."""

KNOWN = "pdm.known"
"""The extension of a request's scope that has what is to be called once its client is known."""
SHOWN = "pdm.certificate"
"""The extension that has the certificate which the client showed."""

calling: ContextVar[Client] = ContextVar("calling", default=EVERYBODY)
"""Who makes the request under way."""


class Seen(Struct):
    """A credential, and whose it is."""

    credential: bytes | None
    clients: Clients
    """Those it was found among."""
    client: Client
    lasts: bool = False
    """Whether that is so as long as those are the clients."""
    kept: bool = False
    """Whether its connection counts as that of a client who is known."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Seen({self.client.id})"


class Gate:
    """Lets requests in. A valid credential always passes; wrong ones from one address are counted."""

    def __init__(
        self,
        clients: Callable[[], Clients] | None,
        review: TokenReview | None,
        *,
        anonymous: bool,
        observe: Callable[[str], None],
    ) -> None:
        """Without `clients` and `anonymous` every caller is trusted; `observe` gets the reason when one is refused."""
        self._clients = clients
        self._review = review
        self._anonymous = anonymous
        self._observe = observe
        self._wrong = Buckets()
        self._lanes: dict[str, _Lane] = {}
        self.open = clients is None and not anonymous

    async def admit(
        self,
        header: str | None,
        address: str,
        needed: frozenset[Scope],
        *,
        compat: bool,
        certificate: Certificate | None = None,
    ) -> Client:
        """Return who calls; raises Unauthenticated, MissingScope, TooManyAttempts, AuthenticationUnavailable.

        `needed` are the scopes of which one suffices; `compat` says that the route is one that may be open to
        callers without a credential. A key and a certificate have to be of the same client.
        """
        try:
            if self.open:
                return EVERYBODY
            by_certificate = self._of_certificate(certificate) if certificate else None
            if not header and by_certificate is None and self._anonymous and compat:
                return NOBODY
            found = by_certificate if by_certificate and not header else await self._of(header or "", address)
            if by_certificate and found.id != by_certificate.id:
                raise Unauthenticated("the key and the certificate are of different clients; use one of them")
        except PdmError as error:
            self._observe(_REASONS[type(error)] if header or certificate else "missing")
            raise
        if callers.expired(found):
            self._observe("expired")
            raise Unauthenticated(f"the key of {found.id} has expired; ask for a new one")
        if not found.may(needed):
            self._observe("scope")
            raise MissingScope(f"this needs the scope {' or '.join(sorted(needed))}, which {found.id} does not have")
        return found

    def known(self, credential: bytes | None, *, compat: bool) -> "Seen | None":
        """Return who calls without a certificate, where nobody need be asked; they may be refused all the same.

        None for all others; nothing is counted or told of them: `admit` does that.
        """
        clients = self._known()
        if not credential:
            return Seen(credential, clients, NOBODY) if self._anonymous and compat else None
        identity, secret = _parsed(credential.decode("latin-1"))
        digest = tokens.digest(secret)
        if secret and (found := clients.of_key(digest, identity)):
            return Seen(credential, clients, found, lasts=True)
        if self._review and clients.use_accounts and identity is None and secret.count(".") == 2:
            username = self._review.remembered(digest)
            if username and (found := clients.of_account(username)):
                return Seen(credential, clients, found)
        return None

    def holds(self, seen: "Seen") -> bool:
        """Return whether the file of callers is still the one that a credential was found in."""
        return self._known() is seen.clients

    def _known(self) -> Clients:
        return self._clients() if self._clients else Clients(())

    def _of_certificate(self, certificate: Certificate) -> Client | None:
        """Return whose a certificate is; one that is nobody's counts as none."""
        found = self._known().of_certificate(certificate.names)
        if found and certificate.expired:
            raise Unauthenticated("the certificate has expired; connect again with a new one")
        if len({client.id for client in found}) > 1:
            raise Unauthenticated("the certificate has the names of several clients")
        return found[0] if found else None

    async def _of(self, header: str, address: str) -> Client:
        if not header:
            raise Unauthenticated("send a credential: Authorization: Bearer <key>, or Basic with id and key")
        identity, secret = _parsed(header)
        digest = tokens.digest(secret)
        clients = self._known()
        if secret and (found := clients.of_key(digest, identity)):
            return found
        place = sender(address)
        review = self._review if clients.use_accounts and identity is None and secret.count(".") == 2 else None
        if review is not None:
            username = review.remembered(digest) or await self._reviewed(review, secret, digest, place)
            if username and (found := clients.of_account(username)):
                return found
        if not self._wrong.take(place, _ATTEMPTS, _PER_MINUTE):
            raise TooManyAttempts("too many wrong credentials came from this address; wait a while")
        raise Unauthenticated("the credential belongs to no client")

    async def _reviewed(self, review: TokenReview, secret: str, digest: bytes, place: str) -> str | None:
        """Return whose a token is; a sender of many tokens waits for its own reviews, and nobody else does."""
        lane = self._lanes.setdefault(place, _Lane())
        if lane.users >= _REVIEWS_WAITING:
            raise TooManyAttempts("too many tokens from this address are being reviewed; try again shortly")
        lane.users += 1
        try:
            async with lane.turns:
                return await review.username(secret, digest)
        finally:
            lane.users -= 1
            if not lane.users:
                del self._lanes[place]


class _Lane:
    """The reviews of one sender's tokens."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(_REVIEWS_AT_ONCE)
        self.users = 0


_REASONS: dict[type[PdmError], str] = {
    Unauthenticated: "invalid",
    TooManyAttempts: "limited",
    AuthenticationUnavailable: "unavailable",
}


def _parsed(header: str) -> tuple[str | None, str]:
    """Return (id, secret) of an Authorization header; the id only from Basic, an empty secret for nonsense."""
    if len(header) > _MAX_CREDENTIAL:
        return None, ""
    scheme, _, rest = header.strip().partition(" ")
    if not rest:
        return None, scheme
    if scheme.lower() == "bearer":
        return None, rest.strip()
    if scheme.lower() == "basic":
        try:
            identity, _, secret = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None, ""
        return identity, secret
    return None, ""
