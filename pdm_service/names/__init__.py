"""Which names there can be (`names`), and which may be had (`reserved`, `policy`; the words are in `lists/`)."""

from pdm_service.names.names import (
    MAX_ADDRESSES,
    MAX_NAME,
    MAX_TEXT,
    addresses,
    covers,
    domain,
    label,
    span,
    split,
    text,
)

__all__ = ["MAX_ADDRESSES", "MAX_NAME", "MAX_TEXT", "addresses", "covers", "domain", "label", "span", "split", "text"]
