"""How Dynadot has requests of its REST API signed.

https://www.dynadot.com/domain/api-document
"""

import base64
import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Key:
    """A credential: `apiKey[:apiSecret]`."""

    key: str = field(repr=False)
    secret: str | None = field(repr=False)

    @property
    def text(self) -> str:
        """The written form."""
        return f"{self.key}:{self.secret or ''}"

    def headers(self, path: str, request_id: str, body: bytes) -> dict[str, str]:
        """Return the headers of a request; `path` and `body` exactly as sent, the path from its first slash."""
        signed = b"\n".join((self.key.encode(), path.encode(), request_id.encode(), body))
        signature = hmac.digest((self.secret or "").encode(), signed, "sha256")
        return {
            "authorization": f"Bearer {self.key}",
            "x-request-id": request_id,
            "x-signature": base64.b64encode(signature).decode(),
        }
