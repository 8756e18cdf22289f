"""Which labels may be handed out, and to whom: reserved words, brands with their keys, words of abuse, look-alikes.

The lists that come with the service are in `reserved`; a deployment adds its own by a file (TOML):

    platform = ["intranet"]                # lists by type: protocol, role, platform, abuse
    abuse = ["casino"]

    [[brand]]
    word = "omantel"
    contains = true                        # also as a part of a label
    client = "catalyst-api"                # who may have it, with the key whose SHA-256 stands here
    key = "9f86d081884c7d65…"

Pure. What others hold is the store's to compare.
"""

import hmac
import re
import tomllib
from typing import Literal

import msgspec
from msgspec import Struct

from pdm_service.model import tokens
from pdm_service.names import reserved

Confusables = Literal["off", "warn", "refuse"]

PHISHING = frozenset({"account", "bank", "billing", "login", "pay", "secure", "signin", "support", "verify", "wallet"})
"""Words that beside a brand's name only want to deceive."""

_DIGITS = str.maketrans("01i", "oll")


class Brand(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name that is kept for one client, or for nobody."""

    word: str
    contains: bool = False
    client: str | None = None
    key: str | None = None
    """SHA-256 of the allocation key, in hexadecimal digits."""


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    protocol: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    platform: tuple[str, ...] = ()
    abuse: tuple[str, ...] = ()
    brand: tuple[Brand, ...] = ()


class Refusal(Struct, frozen=True):
    """Why a label is not handed out: the type of the rule, and a sentence."""

    reason: Literal["reserved", "confusable"]
    rule: str
    detail: str


class Policy:
    """The rules of one deployment."""

    def __init__(self, file: _File | None = None) -> None:
        added = {name: getattr(file, name) for name in ("protocol", "role", "platform", "abuse")} if file else {}
        self.words = reserved.Words(added)
        self._brands = file.brand if file else ()
        lookalikes = {skeleton(word): word for word in self.words.bare()}
        self._lookalikes = {**lookalikes, **{skeleton(brand.word): brand.word for brand in self._brands}}

    def refuses(self, label: str, client: str, key: str | None) -> Refusal | None:
        """Return why a normalised label is kept from a client that sends this allocation key, if any."""
        if rule := self.words.why(label):
            return Refusal("reserved", rule, f"{label!r} is a reserved name ({rule}); choose another")
        for brand in self._brands:
            if self._concerns(brand, label) and not _opened(brand, client, key):
                return Refusal("reserved", "brand", f"{label!r} is kept for the holder of a brand; choose another")
        return None

    def _concerns(self, brand: Brand, label: str) -> bool:
        parts = set(label.split("-"))
        deceives = bool(parts & PHISHING) and (brand.word in label.replace("-", ""))
        return label == brand.word or deceives or (brand.contains and brand.word in label.replace("-", ""))

    def resembles(self, label: str) -> str | None:
        """Return the reserved word or brand that a label, which is none itself, looks like."""
        found = self._lookalikes.get(skeleton(label))
        if found is None or found == label or any(self._concerns(brand, label) for brand in self._brands):
            return None
        return found


def skeleton(label: str) -> str:
    """Return what a label looks like at a glance: labels with one skeleton are easily mistaken for each other."""
    plain = label.replace("-", "").translate(_DIGITS)
    return plain.replace("rn", "m").replace("vv", "w").replace("cl", "d")


def read(text: str) -> Policy:
    """Return the policy of a deployment's file; raises ValueError for what is wrong in it."""
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    for word in (*file.protocol, *file.role, *file.platform, *file.abuse):
        if not re.fullmatch(r"[a-z0-9-]+[*#]?", word):
            raise ValueError(f"{word!r} is not a word of a-z, 0-9 and '-', with '*' or '#' at its end or not")
    for brand in file.brand:
        if not re.fullmatch(r"[a-z0-9]+", brand.word):
            raise ValueError(f"the brand {brand.word!r} is not a word of a-z and 0-9")
        if (brand.client is None) != (brand.key is None) or not re.fullmatch(r"[0-9a-f]{64}", brand.key or "0" * 64):
            raise ValueError(f"the brand {brand.word!r} needs a client and the SHA-256 of its key, or neither")
    return Policy(file)


def _opened(brand: Brand, client: str, key: str | None) -> bool:
    if brand.key is None or key is None or brand.client != client:
        return False
    return hmac.compare_digest(bytes.fromhex(brand.key), tokens.digest(key))
