"""The bases of all that goes over the wire."""

from typing import Literal

from msgspec import Struct


class V1Request(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of the bodies on /v1, where an unknown field is a mistake worth telling."""

    def __repr__(self) -> str:
        """Show no value: some are secrets."""
        return f"{type(self).__name__}()"


class CompatRequest(Struct, kw_only=True, rename="camel"):
    """Base of the bodies on the compatibility routes, where unknown fields are ignored."""

    def __repr__(self) -> str:
        """Show no value: some are secrets."""
        return f"{type(self).__name__}()"


class Reply(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all replies."""

    def __repr__(self) -> str:
        """Show all but the token of a reservation."""
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "reservation_token")
        return f"{type(self).__name__}({', '.join(shown)})"


Mode = Literal["pool", "byo-manual", "byo-api"]
