"""A provider's own words, as far as they may go into a sentence for the customer.

They may hold anything: a credential that was sent, another customer's, markup, control characters. What is not plainly
harmless is left out, whole.
"""

import re

_LONGEST = 160
_ODD = re.compile(r"[^A-Za-z0-9 .,:;'()/_-]")
_LIKE_A_SECRET = re.compile(r"(?=[A-Za-z0-9_-]*[0-9])[A-Za-z0-9_-]{16,}|[A-Za-z0-9_-]{24,}")
"""A long word without a dot: names of hosts have dots."""
_SHORTEST_SECRET = 4


def quoted(text: object, credential: str) -> str:
    """Return `: "…"` for a provider's words, empty for those that may hold something secret, or nothing to read."""
    if not isinstance(text, str):
        return ""
    words = " ".join(text.split())
    parts = [one.lower() for one in re.split(r"[:\s]+", credential) if len(one) >= _SHORTEST_SECRET]
    if not words or len(words) > _LONGEST or _ODD.search(words) or _LIKE_A_SECRET.search(words):
        return ""
    if any(part in words.lower() for part in parts):
        return ""
    return f': "{words}"'
