"""The bases of all that goes over the wire."""

from typing import Literal

from msgspec import Struct


class V1Request(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of the bodies on /v1, where an unknown field is a mistake worth telling."""


class CompatRequest(Struct, kw_only=True, rename="camel"):
    """Base of the bodies on the compatibility routes, where unknown fields are ignored."""


class Reply(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all replies."""


Mode = Literal["pool", "byo-manual", "byo-api"]
