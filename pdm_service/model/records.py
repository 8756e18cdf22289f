"""Records and the servers that answer with them: an RRset, a nameserver."""

import msgspec


class Nameserver(msgspec.Struct, frozen=True):
    """Where a nameserver answers."""

    name: str
    """Empty when only the address is known."""
    address: str
    port: int


class RRset(msgspec.Struct, frozen=True, kw_only=True):
    """One RRset: a name, a type, and its records (RFC 2181 section 5)."""

    name: str
    """Absolute, lower case, with the trailing dot; may begin with "*."."""
    type: str
    ttl: int
    """In seconds."""
    contents: tuple[str, ...]
    """In presentation form, names in them absolute with the trailing dot."""

    def same(self, other: "RRset | None") -> bool:
        """Return whether both are one; the order of records means nothing (RFC 2181 section 5)."""
        return (
            other is not None
            and (self.name, self.type, self.ttl) == (other.name, other.type, other.ttl)
            and {content.lower() for content in self.contents} == {content.lower() for content in other.contents}
        )
