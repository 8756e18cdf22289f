"""Which names (`names`) and addresses (`ip`) there can be, and which names may be had.

That is for `reserved` and `policy`; the words are in `lists/`. What people may have meant, and how a name reads to
them, is for `idn`.
"""

from pdm_service.names.idn import unicode
from pdm_service.names.ip import MAX_ADDRESSES, addresses, is_public
from pdm_service.names.names import MAX_NAME, MAX_TEXT, above, covers, domain, label, pool_of, span, split, text

__all__ = [
    "MAX_ADDRESSES",
    "MAX_NAME",
    "MAX_TEXT",
    "above",
    "addresses",
    "covers",
    "domain",
    "is_public",
    "label",
    "pool_of",
    "span",
    "split",
    "text",
    "unicode",
]
