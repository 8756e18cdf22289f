"""How OVH has requests signed.

https://help.ovhcloud.com/csm/en-api-getting-started-ovhcloud-api?id=kb_article_view&sysparm_article=KB0042784
"""

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Key:
    """A credential: `appKey:appSecret:consumerKey`."""

    application: str = field(repr=False)
    secret: str = field(repr=False)
    consumer: str = field(repr=False)

    @property
    def text(self) -> str:
        """The written form."""
        return f"{self.application}:{self.secret}:{self.consumer}"

    def headers(self, method: str, url: str, body: bytes, timestamp: int) -> dict[str, str]:
        """Return the headers that sign a request; `url` and `body` exactly as sent, `timestamp` by OVH's clock."""
        signed = "+".join((self.secret, self.consumer, method, url, body.decode(), str(timestamp)))
        return {
            "x-ovh-application": self.application,
            "x-ovh-consumer": self.consumer,
            "x-ovh-timestamp": str(timestamp),
            # SHA-1 is OVH's choice; the secret stands in front of what is signed.
            "x-ovh-signature": "$1$" + hashlib.sha1(signed.encode()).hexdigest(),  # noqa: S324
        }
