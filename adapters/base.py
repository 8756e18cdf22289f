"""What a registrar adapter is: the protocols, the values, the kinds of failure, and the contract.

**Names.** `domain` is a registrable domain (one label below a public suffix), lower case, A-labels, no
trailing dot: `registrable` tells. A nameserver is a host name of the same form. Adapters give and take
sets of nameservers as tuples, sorted, without repeats; order and letter case mean nothing to a registry.

**Credentials** come as the text that the customer wrote, in the form that `About.token_form` says. A text
of another form raises InvalidCredential before any request is sent. They live in the arguments of one
call: an adapter keeps none, and no failure, log line, metric or URL that is logged holds one.

**validate** sends only requests that change nothing. It returns when the credential works and the domain is
in the account, and tells whether the nameservers may be set: yes, no (with the reason, and what to do
instead), or None where the provider offers no way to find out. It never claims what it has not seen.

**get_nameservers** returns what the registrar has on record, which is not what the parent zone answers: a
registry may be behind, or may have put the domain on hold. Who needs the truth asks the parent as well.

**set_nameservers** makes the set exactly the given one, and touches nothing else: no records, no DS, no
lock, no contact. It reads first and writes only if the set differs, so it may be repeated without end. It
returns Applied with what it read back, or Pending when the provider goes on by itself; a pending change
can still fail, `Follows.progress` or a later get_nameservers tells. It does not look for a DS at the
parent: whoever changes nameservers has to, since a stale DS makes the domain bogus (RFC 6781 section 4.3.5).

**Unclear outcomes.** A write is sent once. If its reply is lost or cannot be understood, the adapter reads
back, and returns Applied if the wanted set is there; otherwise it raises OutcomeUnclear: the change may
still come. A caller then reads later; it does not report a failure. Where the provider knows repeats by a
key (`KnowsRepeats`), the same change may be sent again under its key. What a provider refuses in its own
words has not been done, whatever its number: in words that nobody has documented it is Rejected.

**Retries.** Reading is retried inside the adapter while time is left; so is what surely was not sent, and what
was refused for its rate, if the provider's delay fits. Nothing else is: other failures are the caller's.

**Deadlines.** Every call ends within `within` seconds, whatever the provider does, and may be cancelled at
any moment. A cancelled write has an unclear outcome. Calls may run at the same time.

**Failures** are the closed list below, one class a kind. Their text is a sentence for the customer, written
by us; a provider's words are in it only through `adapters.quoted`. What an adapter does not know is
Unavailable or OutcomeUnclear, never a success and never InvalidCredential.

    RegistrarError
    ├── InvalidCredential      refused, expired, disabled, or of a wrong form
    ├── AddressNotAllowed      the credential is right, but not from our address
    ├── AccountNotEligible     the account may not use the API at all
    ├── MissingPermission      the credential is right, but may not do this
    ├── DomainNotInAccount     the account does not have the domain
    ├── ManagedByRegistrar     the registrar lets nobody change this domain's nameservers
    ├── Locked                 the domain's state forbids it: lock, hold, expiry, a change under way
    ├── UnknownHost            a nameserver that the registrar or registry does not know
    ├── Rejected               refused for another reason: repeating changes nothing
    ├── NotSupported           the API cannot do this
    ├── RateLimited            too many requests, or busy with another one; with the delay
    ├── Unavailable            no answer, or none that can be understood; nothing was changed
    └── OutcomeUnclear         a write was sent, and may or may not have been done
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Protocol, runtime_checkable

import dns.exception
import dns.name
from publicsuffixlist import PublicSuffixList

SECONDS = 8.0
"""How long a call may take unless the caller says otherwise."""

MIN_NAMESERVERS, MAX_NAMESERVERS = 2, 13

_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

# --- failures ---------------------------------------------------------------------------------------


class RegistrarError(Exception):
    """Base of all failures: a sentence for the customer, and the provider's own code for support."""

    retry_after_seconds: int | None = None

    def __init__(self, detail: str, code: str = "") -> None:
        """`code` is shown with the sentence; it must be one that the provider's documents list."""
        super().__init__(f"{detail} ({code})" if code else detail)
        self.code = code

    @property
    def detail(self) -> str:
        """The sentence."""
        return str(self.args[0])


class InvalidCredential(RegistrarError):
    """The credential is refused, expired, disabled, or of a wrong form."""


class AddressNotAllowed(RegistrarError):
    """The provider does not take this credential from our address."""


class AccountNotEligible(RegistrarError):
    """The provider does not open its API to this account."""


class MissingPermission(RegistrarError):
    """The credential works, but may not do this."""


class DomainNotInAccount(RegistrarError):
    """The account does not have the domain."""


class ManagedByRegistrar(RegistrarError):
    """The registrar lets nobody change the nameservers of this domain."""


class Locked(RegistrarError):
    """The domain's state forbids the change: a lock, a hold, its expiry, a change under way."""


class UnknownHost(RegistrarError):
    """A nameserver is not known to the registrar or its registry."""


class Rejected(RegistrarError):
    """The provider refuses; repeating changes nothing."""


class NotSupported(RegistrarError):
    """The provider's API cannot do this."""


class RateLimited(RegistrarError):
    """Too many requests, or busy with another one; `retry_after_seconds` is the provider's delay, or a fair guess."""

    def __init__(
        self, detail: str, retry_after_seconds: int = 60, code: str = "", *, again_seconds: float | None = None
    ) -> None:
        """`again_seconds` is when an adapter itself tries again, where the provider is only busy for a moment."""
        super().__init__(detail, code)
        self.retry_after_seconds = retry_after_seconds
        self.again_seconds = again_seconds


class Unavailable(RegistrarError):
    """No answer, or none that can be understood; nothing was changed by it."""

    retry_after_seconds = 10

    def __init__(self, detail: str, code: str = "", *, sent: bool = True) -> None:
        """`sent` says whether the provider may have got the request."""
        super().__init__(detail, code)
        self.sent = sent


class OutcomeUnclear(RegistrarError):
    """A write was sent, and may or may not have been done; read again later."""

    retry_after_seconds = 60


# --- values -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class About:
    """Facts of a registrar for those who choose one."""

    name: str
    """As in paths and settings: `ovh`."""
    title: str
    """As its customers know it: `OVHcloud`."""
    token_form: str
    """The written form of its credential, parts between colons, optional ones in brackets."""
    token_url: str
    """Where its customers make one."""
    sets_nameservers: bool
    tells_permission: bool
    """Whether validate can find out if the nameservers may be set."""
    reads_ds: bool
    sets_ds: bool
    asynchronous: bool
    """Whether a change may go on after the provider has taken it."""
    settles_within: int
    """Seconds after which a change that was taken is on record or will not come, unless the provider says more."""
    propagation: str
    """How long a change typically takes to be seen, in words."""
    notes: tuple[str, ...] = ()
    """What a customer has to know before."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What validate found out: the credential works, and the domain is in the account."""

    nameservers: tuple[str, ...]
    """On record now."""
    can_set_nameservers: bool | None
    """None: there is no way to find out without trying."""
    obstacle: RegistrarError | None = None
    """Why they cannot be set, where `can_set_nameservers` is False."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Applied:
    """The change is on record at the registrar."""

    nameservers: tuple[str, ...]
    """As read back."""


@dataclass(frozen=True)
class Pending:
    """The provider has accepted the change and completes it by itself; it may still fail."""

    operation: str | None
    """What `Follows.progress` takes; None where only reading again shows it."""
    poll_after_seconds: int


Change = Applied | Pending


@dataclass(frozen=True)
class Progress:
    """How a pending change stands."""

    done: bool
    failed: RegistrarError | None = None
    """Why it failed; it has ended then, unless the provider tries again by itself."""
    poll_after_seconds: int = 30


DsRdata = tuple[int, int, int, str]
"""The four fields of a DS record."""


@dataclass(frozen=True, order=True)
class Ds:
    """A DS record (RFC 4034 section 5), and the DNSKEY it was made of where that is known."""

    key_tag: int
    algorithm: int
    digest_type: int
    digest: str
    """Hexadecimal, lower case."""
    flags: int = 257
    public_key: str = ""
    """Base64. Some providers take the key and make the digest themselves."""

    @property
    def rdata(self) -> DsRdata:
        """The record's four fields."""
        return self.key_tag, self.algorithm, self.digest_type, self.digest

    @property
    def text(self) -> str:
        """The record in presentation form."""
        return " ".join(map(str, self.rdata))


# --- protocols --------------------------------------------------------------------------------------


class Registrar(Protocol):
    """What every registrar can be asked. The module's docstring is the contract."""

    about: ClassVar[About]

    async def validate(self, credential: str, domain: str, *, within: float = SECONDS) -> Validation:
        """Find out, by reading alone, whether the credential works and has the domain; raises RegistrarError."""
        ...

    async def get_nameservers(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[str, ...]:
        """Return the nameservers on record; raises RegistrarError."""
        ...

    async def set_nameservers(
        self, credential: str, domain: str, nameservers: Sequence[str], *, within: float = SECONDS
    ) -> Change:
        """Make the nameservers exactly these; raises RegistrarError."""
        ...


@runtime_checkable
class Follows(Protocol):
    """A registrar that reports the progress of a change that it has accepted."""

    async def progress(self, credential: str, domain: str, operation: str, *, within: float = SECONDS) -> Progress:
        """Return how the operation of a Pending stands; raises RegistrarError."""
        ...


@runtime_checkable
class ReadsDs(Protocol):
    """A registrar that gives the DS that it has on record for the parent zone."""

    async def get_ds(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[Ds, ...]:
        """Return the DS on record, sorted; raises RegistrarError."""
        ...


@runtime_checkable
class SetsDs(ReadsDs, Protocol):
    """A registrar that changes the DS in the parent zone."""

    async def set_ds(
        self, credential: str, domain: str, ds: Sequence[Ds], *, within: float = SECONDS
    ) -> Pending | None:
        """Make the DS RRset exactly these, empty to have none; None once it is on record; raises RegistrarError.

        On the way the domain may be without a DS (insecure), never with a wrong one alone (bogus).
        """
        ...


@runtime_checkable
class KnowsRepeats(Protocol):
    """A registrar that makes a change once, however often it is sent under the same key."""

    def knows_repeats(self, credential: str) -> bool:
        """Return whether it does with this kind of credential; raises InvalidCredential."""
        ...

    async def set_nameservers(
        self,
        credential: str,
        domain: str,
        nameservers: Sequence[str],
        *,
        within: float = SECONDS,
        key: str | None = None,
    ) -> Change:
        """See Registrar; `key` (16 to 64 letters, digits, hyphens) is one change's own; None: it is not repeated."""
        ...


@runtime_checkable
class SetsGlue(Protocol):
    """A registrar that takes the addresses of nameservers, for the parent zone: glue (RFC 9499 section 7)."""

    async def set_glue(
        self, credential: str, domain: str, host: str, addresses: Sequence[str], *, within: float = SECONDS
    ) -> Pending | None:
        """Have a nameserver on record with exactly these addresses, whether it was there or not; raises RegistrarError.

        None once it is. The nameservers of the domain stay as they are. Raises NotSupported for addresses that the
        registrar does not take by its API.
        """
        ...


# --- names ------------------------------------------------------------------------------------------


@cache
def _suffixes() -> PublicSuffixList:
    # With the list's private part: registrars sell names below suffixes such as uk.com.
    return PublicSuffixList()


def registrable(domain: str) -> str | None:
    """Return the registrable domain that `domain` is or lies below; None for a public suffix.

    By the bundled Public Suffix List, https://publicsuffix.org/list/
    """
    found = _suffixes().privatesuffix(domain)
    return None if found is None else str(found)


def public_suffix(domain: str) -> str:
    """Return the public suffix of a registrable domain: `co.uk` of `example.co.uk`."""
    return domain.partition(".")[2]


def wanted(nameservers: Iterable[str]) -> tuple[str, ...]:
    """Return nameservers to set in the contract's form; raises Rejected for what no registry takes."""
    found = known(nameservers)
    if any(not _HOST.fullmatch(host) or len(host) > 253 or host.rpartition(".")[2].isdigit() for host in found):
        raise Rejected("a nameserver must be a host name such as ns1.example.net, not an address or a single label")
    if not MIN_NAMESERVERS <= len(found) <= MAX_NAMESERVERS:
        raise Rejected(f"a domain takes {MIN_NAMESERVERS} to {MAX_NAMESERVERS} nameservers")
    return found


def known(nameservers: Iterable[str]) -> tuple[str, ...]:
    """Return nameservers as a provider gives them, in the contract's form; what is empty is left out."""
    hosts = (host.strip().removesuffix(".").lower() for host in nameservers)
    return tuple(sorted({a_labels(host) for host in hosts if host}))


def a_labels(host: str) -> str:
    """Return a name with its labels as DNS has them (RFC 5890); as it is, where it cannot be written so."""
    if host.isascii():
        return host
    try:
        return dns.name.from_text(host).to_text(omit_final_dot=True)
    except (dns.exception.DNSException, UnicodeError):
        return host
