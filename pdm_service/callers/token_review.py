"""The account of a Kubernetes ServiceAccount token, by TokenReview, so that a deleted pod's token ends at once.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
"""

import asyncio
from collections import OrderedDict
from pathlib import Path
from time import monotonic

import httpx
import msgspec

from pdm_service.errors import AuthenticationUnavailable

AUDIENCE = "pool-domain-manager"
_SECONDS = 3.0
_KNOWN_SECONDS = 60.0
_UNKNOWN_SECONDS = 10.0
_REMEMBERED = 10_000


class _User(msgspec.Struct):
    username: str = ""


class _Status(msgspec.Struct):
    authenticated: bool = False
    user: _User | None = None
    audiences: list[str] = []


class _Review(msgspec.Struct):
    status: _Status


class TokenReview:
    """Asks the API server, and remembers its answers by the token's digest: 60 s, a "no" 10 s."""

    def __init__(self, url: str, token_file: Path, ca_file: Path | None) -> None:
        """`token_file` has this service's own token; it is read at each review, since the kubelet renews it."""
        verify = httpx.create_ssl_context(verify=str(ca_file)) if ca_file and url.startswith("https:") else True
        self._client = httpx.AsyncClient(base_url=url, verify=verify, timeout=_SECONDS, trust_env=False)
        self._token_file = token_file
        self._known: OrderedDict[bytes, tuple[float, str | None]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[str | None]] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def remembered(self, digest: bytes) -> str | None:
        """Return the account of a token, if that is known without asking."""
        until, username = self._known.get(digest, (0.0, None))
        return username if until > monotonic() else None

    async def username(self, token: str, digest: bytes) -> str | None:
        """Return the account of a token, None if it has none for this audience; raises AuthenticationUnavailable."""
        until, username = self._known.get(digest, (0.0, None))
        if until > monotonic():
            return username
        if (task := self._asking.get(digest)) is None:
            task = self._asking[digest] = asyncio.create_task(self._ask(token))
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        found = await asyncio.shield(task)
        self._known[digest] = monotonic() + (_KNOWN_SECONDS if found else _UNKNOWN_SECONDS), found
        self._known.move_to_end(digest)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _ask(self, token: str) -> str | None:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        try:
            own = self._token_file.read_text("ascii").strip()
            async with asyncio.timeout(_SECONDS):
                reply = await self._client.post(
                    "/apis/authentication.k8s.io/v1/tokenreviews", json=body, headers={"Authorization": f"Bearer {own}"}
                )
            if reply.status_code not in {200, 201}:
                raise AuthenticationUnavailable(
                    f"the Kubernetes API server answers {reply.status_code} to a TokenReview"
                )
            status = msgspec.json.decode(reply.content, type=_Review).status
        except (OSError, UnicodeDecodeError, TimeoutError, httpx.HTTPError, msgspec.DecodeError):
            raise AuthenticationUnavailable("the Kubernetes API server does not answer; try again shortly") from None
        if not status.authenticated or AUDIENCE not in status.audiences or status.user is None:
            return None
        return status.user.username
