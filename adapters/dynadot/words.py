"""What Dynadot's two APIs say alike: sentences for errors, DS in several spellings.

Sentences are compared whole or from one end, with the names in them taken out: parts of them occur in
customers' domains.
"""

import re
from collections.abc import Iterable
from typing import NoReturn

from adapters.base import (
    AccountNotEligible,
    AddressNotAllowed,
    DomainNotInAccount,
    Ds,
    InvalidCredential,
    Locked,
    NotSupported,
    RateLimited,
    RegistrarError,
    Unavailable,
    UnknownHost,
)

_NOT_OURS = "the domain is not in this Dynadot account"
_SENTENCES: tuple[tuple[str, type[RegistrarError], str], ...] = (
    (r"invalid (api )?key", InvalidCredential, "Dynadot refuses the API key"),
    (r"login failed", InvalidCredential, "Dynadot refuses the API key, or has disabled the account"),
    (r"(the |your )?account (is |has been )?(locked|disabled).*", InvalidCredential, "the Dynadot account is locked"),
    (r"(the )?x-signature .*", InvalidCredential, "Dynadot misses the API secret, or refuses it"),
    (r".*only available for specific accounts", AccountNotEligible, "Dynadot does not open this API to this account"),
    (r"(your |the |invalid )?ip( address)? .*", AddressNotAllowed, "Dynadot does not take this key from our address"),
    (r"could not find .*in your account", DomainNotInAccount, _NOT_OURS),
    (r"can ?not find .*in (the|your) account", DomainNotInAccount, _NOT_OURS),
    (r"unsupported domain type", NotSupported, "Dynadot's API does not serve this kind of domain"),
    (r".*tld isn't supported via the api", NotSupported, "Dynadot's API does not serve this top-level domain"),
    (r".*doesn't support dnssec", NotSupported, "Dynadot does not offer DNSSEC for this domain"),
    (r".*needs to be registered with an ip address before it can be used", UnknownHost,
     "a nameserver inside the domain has to be registered at Dynadot with its address first"),
    (r".*(name ?server|host) .*(does not|doesn't) exist", UnknownHost, "a nameserver is not known to the registry"),
    (r".*udrp locked", Locked, "the domain is locked by a dispute"),
    (r".*was expired", Locked, "the domain has expired; renew it at Dynadot first"),
    (r"system[ _]busy.*", RateLimited, "Dynadot works on another request of this account; try again in a minute"),
    (r".*another request.*", RateLimited, "Dynadot works on another request of this account; try again in a minute"),
)  # fmt: skip
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z0-9-]+")
_CONTAINER = re.compile(r"(get)?(dnssec|ds)(content|info|records?|list)*")


def failure(sentence: object, otherwise: type[RegistrarError]) -> RegistrarError:
    """Return the failure that an error's sentence tells; `otherwise` where it is not known."""
    text = _HOST.sub("@", str(sentence).strip().lower().rstrip("."))
    for pattern, kind, detail in _SENTENCES:
        if re.fullmatch(pattern, text):
            return kind(detail)
    return otherwise("Dynadot refuses the request, for a reason that it does not document")


def misunderstood() -> Unavailable:
    """Return the failure for a reply that is not as documented."""
    return Unavailable("Dynadot answers something that cannot be understood")


def ds_of(content: object) -> tuple[Ds, ...]:
    """Return the DS in a reply; raises Unavailable where it holds no list of them, which does not mean none."""
    try:
        return tuple(sorted({_ds(record) for record in _records(content)}))
    except (KeyError, ValueError, TypeError):
        raise misunderstood() from None


def _records(content: object) -> Iterable[dict[str, object]]:
    if content is None or content in ("", [], {}):
        return []
    if isinstance(content, list):
        return [record for one in content for record in _records(one)]
    if not isinstance(content, dict):
        _refuse()
    named = {name.lower().replace("_", ""): value for name, value in content.items()}
    if "keytag" in named:
        return [named]
    inner = [value for name, value in named.items() if _CONTAINER.fullmatch(name)]
    if not inner:
        _refuse()
    return [record for one in inner for record in _records(one)]


def _ds(record: dict[str, object]) -> Ds:
    digest = str(record["digest"]).replace(" ", "").lower()
    bytes.fromhex(digest)
    return Ds(_number(record["keytag"]), _number(record["algorithm"]), _number(record["digesttype"]), digest)


def _number(value: object) -> int:
    """Return a number that may stand in brackets behind its name: `ED25519 (15)`."""
    found = re.fullmatch(r"(?:.*\()?(\d{1,5})\)?", str(value).strip())
    if found is None:
        raise ValueError(value)
    return int(found[1])


def _refuse() -> NoReturn:
    raise misunderstood()
