"""Whether a name can be had: which names are taken, what looks like what, and what that means for who asks. Pure."""

from collections.abc import Sequence
from math import inf

from msgspec import Struct

from pdm_service.model.allocation import State


class Question(Struct, frozen=True, gc=False):
    """Who asks whether they could have a name."""

    fqdn: str
    pool_domain: str
    subdomain: str
    owner: str
    tenant: str | None


class Standing(Struct, frozen=True, gc=False):
    """What stands in the way of having a name."""

    state: State | None
    """Of a live allocation, None if there is none."""
    quarantined: bool = False
    """Kept for its last holder."""
    resembles: bool = False
    """Easily mistaken for a name that somebody else holds."""


FREE = Standing(None)
"""Of a name that nothing stands in the way of."""


# The collector would look through hundreds of thousands of them, none of which can be part of a cycle.
class Taken(Struct, frozen=True, gc=False):
    """A name that is held, or kept for its last holder."""

    subdomain: str
    pool_domain: str
    state: State | None
    """None: it is in quarantine."""
    owner: str
    tenant: str | None
    until: float = inf
    """Seconds since 1970; infinite for what does not end by itself."""


def standing(question: Question, alike: Sequence[Taken]) -> Standing:
    """Return what the taken names that look like a name mean for who asks for it."""
    if not alike:
        return FREE
    state, quarantined, resembles = None, False, False
    for one in alike:
        if one.pool_domain != question.pool_domain:
            continue
        others = one.owner != question.owner or one.tenant != question.tenant
        if one.subdomain != question.subdomain:
            resembles = resembles or others
        elif one.state is not None:
            state = one.state
        else:
            quarantined = quarantined or others
    return Standing(state, quarantined, resembles)


class TakenNames:
    """The taken names by what they look like, as they were at one moment."""

    def __init__(self) -> None:
        self.at = 0.0
        """The moment, in seconds since 1970 by the database's clock: what ends by then is taken no more."""
        # Most looks are of one name; a tuple around each would cost a fifth of the memory.
        self._by_look: dict[str, Taken | tuple[Taken, ...]] = {}

    def __len__(self) -> int:
        """Return how many looks are taken."""
        return len(self._by_look)

    def alike(self, look: str) -> tuple[Taken, ...]:
        """Return the names with a look that are taken at the moment."""
        found = self._by_look.get(look)
        if found is None:
            return ()
        if isinstance(found, Taken):
            return (found,) if found.until > self.at else ()
        return tuple(one for one in found if one.until > self.at)

    def add(self, look: str, new: Taken) -> None:
        """Add a name of which nothing is known."""
        self._put(look, (*self._all(look), new))

    def replace(self, look: str, subdomain: str, pool_domain: str, now: Sequence[Taken]) -> None:
        """Forget what is known of a name, and know this: its allocation, its quarantine, both or nothing."""
        others = (one for one in self._all(look) if (one.subdomain, one.pool_domain) != (subdomain, pool_domain))
        self._put(look, (*others, *now))

    def clear(self) -> None:
        """Forget everything."""
        self._by_look.clear()

    def _all(self, look: str) -> tuple[Taken, ...]:
        found = self._by_look.get(look, ())
        return (found,) if isinstance(found, Taken) else found

    def _put(self, look: str, names: tuple[Taken, ...]) -> None:
        if not names:
            self._by_look.pop(look, None)
        else:
            self._by_look[look] = names[0] if len(names) == 1 else names
