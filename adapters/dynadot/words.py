"""What Dynadot's two APIs say alike: sentences for errors, fields and DS in several spellings.

Sentences are compared whole or from one end, with the names in them taken out: parts of them occur in
customers' domains.
"""

import re
from collections.abc import Iterable

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
    Rejected,
    Unavailable,
    UnknownHost,
)
from adapters.quoted import quoted

_NOT_OURS = "the domain is not in this Dynadot account"
_BUSY = "Dynadot works on another request of this account; try again in a minute"
PACE = 1.1
"""Seconds between two requests that Dynadot takes from any account."""
_SPENT = "Dynadot takes no more requests of this account for now; try again in a minute"
_KEY = "Dynadot refuses the API key: it is wrong, has expired, or was replaced; take the one of its API page"
_SECRET = "Dynadot refuses the API secret; take the one of its API page"  # noqa: S105 - a sentence
_ADDRESS = "Dynadot does not take this key from our address; add it to the list on its API page"
_SENTENCES: tuple[tuple[str, type[RegistrarError], str], ...] = (
    (r"invalid (api )?key", InvalidCredential, _KEY),
    (r"the provided api key is invalid.*", InvalidCredential, _KEY),
    (r"login failed", InvalidCredential, "Dynadot refuses the API key, or has disabled the account"),
    (r"(the |your )?account (is |has been |was )?(locked|disabled).*", InvalidCredential,
     "the Dynadot account is locked; unlock it there first"),
    (r"(this command requires |(the |invalid )?)x-signature( .*)?", InvalidCredential, _SECRET),
    (r".*only available for specific accounts.*", AccountNotEligible, "Dynadot does not open this API to the account"),
    (r"the request is not allowed from the current ip address.*", AddressNotAllowed, _ADDRESS),
    (r"(your |the |this )?ip( address)? .*(not (allowed|in|on|permitted)|whitelist|denied).*", AddressNotAllowed,
     _ADDRESS),
    (r"could not find .*in your account", DomainNotInAccount, _NOT_OURS),
    (r"can ?not find .*in (the|your) account", DomainNotInAccount, _NOT_OURS),
    (r"unsupported domain type(:.*)?", NotSupported, "Dynadot's API does not serve this kind of domain"),
    (r".*tld isn't supported via the api", NotSupported, "Dynadot's API does not serve this top-level domain"),
    (r".*doesn't support dnssec", NotSupported, "Dynadot does not offer DNSSEC for this domain"),
    (r"subdomains are not allowed(:.*)?", Rejected, "Dynadot takes only domains that can be registered"),
    (r".*needs to be registered with an ip address before it can be used", UnknownHost,
     "a nameserver inside the domain has to be registered at Dynadot with its address first"),
    (r".*(name ?server|host) .*(does not|doesn't) exist", UnknownHost,
     "a nameserver is not known to the registry; check its name"),
    (r".*udrp locked", Locked, "the domain is locked by a dispute"),
    (r"(the )?(@|\[domain_name\]|domain) is disabled", Locked, "the domain is disabled at Dynadot; ask their support"),
    (r".*(was|has|is) expired", Locked, "the domain has expired; renew it at Dynadot first"),
    (r"system[ _]busy.*", RateLimited, _BUSY),
    (r".*another (request|command) .*", RateLimited, _BUSY),
    (r"you have reached the maximum allowed requests within the concurrent limit.*", RateLimited, _BUSY),
    (r"(too many requests|you have reached the maximum allowed requests).*", RateLimited, _SPENT),
)  # fmt: skip
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z0-9-]+")
_CONTAINER = re.compile(r"(get)?(dnssec|ds)(content|info|records?|list)*")


def known(*sentences: object) -> RegistrarError | None:
    """Return the failure that the first known one of an error's sentences means."""
    for sentence in sentences:
        text = _HOST.sub("@", str(sentence).strip().lower().rstrip("."))
        for pattern, kind, detail in _SENTENCES:
            if re.fullmatch(pattern, text, re.DOTALL):
                return RateLimited(detail, again_seconds=PACE) if detail == _BUSY else kind(detail)
    return None


def refused(kind: type[RegistrarError], sentence: object, credential: str) -> RegistrarError:
    """Return the failure for an error in words that are not known."""
    why = quoted(sentence, credential) if kind is Rejected else ""
    return kind(f"Dynadot refuses the request{why or ', for a reason that it does not document'}")


def misunderstood() -> Unavailable:
    """Return the failure for a reply that is not as documented."""
    return Unavailable("Dynadot gave an answer that cannot be understood")


def plain(fields: object) -> dict[str, object]:
    """Return an object by its names without case and underscores; raises Unavailable where it is none."""
    if not isinstance(fields, dict):
        raise misunderstood()
    return {name.lower().replace("_", ""): value for name, value in fields.items()}


def hosts_of(content: object) -> dict[str, str]:
    """Return the ids of the nameservers in a list, by name; raises Unavailable where there is no list."""
    if content is None or content == "":
        return {}
    if not isinstance(content, list):
        raise misunderstood()
    found = [plain({"servername": one} if isinstance(one, str) else one) for one in content]
    named = [(str(one.get("servername", one.get("name", ""))), str(one.get("serverid", ""))) for one in found]
    return {name.strip().rstrip(".").lower(): number for name, number in named if name.strip()}


def ds_of(content: object) -> tuple[Ds, ...]:
    """Return the DS in a reply; raises Unavailable where it holds no list of them, which does not mean none."""
    try:
        return tuple(sorted({_ds(record) for record in _records(content)}))
    except (KeyError, ValueError, TypeError):
        raise misunderstood() from None


def _records(content: object) -> Iterable[dict[str, object]]:
    if isinstance(content, list):
        return [record for one in content for record in _records(one)]
    named = plain(content)
    if "keytag" in named:
        return [named]
    inner = [value for name, value in named.items() if _CONTAINER.fullmatch(name)]
    if not inner:
        raise misunderstood()
    # A container that is there and empty says that there are none.
    return [record for one in inner if one not in (None, "", {}) for record in _records(one)]


def _ds(record: dict[str, object]) -> Ds:
    digest = str(record["digest"]).replace(" ", "").lower()
    if not bytes.fromhex(digest):
        raise ValueError(digest)
    return Ds(_number(record["keytag"]), _number(record["algorithm"]), _number(record["digesttype"]), digest)


def _number(value: object) -> int:
    """Return a number that may stand in brackets behind its name: `ED25519 (15)`."""
    found = re.fullmatch(r"(?:.*\((\d{1,5})\)|(\d{1,5}))", str(value).strip())
    if found is None:
        raise ValueError(value)
    return int(found[1] or found[2])
