"""What callers may ask of registrars, with a token that lives no longer than the request."""

from collections.abc import Mapping

import msgspec

from adapters import base
from adapters.base import About, Ds, Registrar, SetsDs, Validation
from pdm_service import errors, names

_VALIDATE_SECONDS = 8.0

_TOLD_AS: dict[type[base.RegistrarError], type[errors.RegistrarFailure]] = {
    base.InvalidCredential: errors.InvalidToken,
    base.AddressNotAllowed: errors.IpNotAllowed,
    base.AccountNotEligible: errors.AccountNotEligible,
    base.MissingPermission: errors.InsufficientScope,
    base.DomainNotInAccount: errors.DomainNotInAccount,
    base.ManagedByRegistrar: errors.NsManagedByRegistrar,
    base.Locked: errors.RegistryLocked,
    base.UnknownHost: errors.UnknownNameserver,
    base.Rejected: errors.RegistrarRejected,
    base.NotSupported: errors.UnsupportedOperation,
    base.RateLimited: errors.RateLimited,
    base.Unavailable: errors.ApiUnavailable,
    base.OutcomeUnclear: errors.OutcomeUnclear,
}


class Asked(msgspec.Struct, frozen=True):
    """A registrar's name and a domain, both in their one form."""

    registrar: str
    domain: str


class Registrars:
    """The registrars, by name."""

    def __init__(self, adapters: Mapping[str, Registrar]) -> None:
        self._adapters = adapters

    @property
    def supported(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._adapters))

    def about(self) -> list[About]:
        """Return the facts of all registrars, by name."""
        return [self._adapters[name].about for name in self.supported]

    async def validate(self, registrar: str | None, domain: str | None, token: str | None) -> tuple[Asked, Validation]:
        """Test a token, by reading alone; raises what is wrong with the question, and RegistrarFailure."""
        asked, secret = self.asked(registrar, domain, token)
        try:
            found = await self._adapters[asked.registrar].validate(secret, asked.domain, within=_VALIDATE_SECONDS)
        except base.RegistrarError as failure:
            raise as_error(failure) from None
        return asked, found

    def adapter(self, name: str) -> Registrar:
        """Return a registrar's adapter."""
        return self._adapters[name]

    @property
    def that_set_ds(self) -> tuple[str, ...]:
        """The names of those that take a DS by their API, sorted."""
        return tuple(name for name in self.supported if isinstance(self._adapters[name], SetsDs))

    def ds_adapter(self, name: str) -> SetsDs:
        """Return the adapter of a registrar that takes a DS by its API; raises UnsupportedOperation."""
        adapter = self._adapters[name]
        if not isinstance(adapter, SetsDs):
            raise errors.UnsupportedOperation(
                f"{adapter.about.title}'s API takes no DS: remove the DS on its site, and wait until its TTL has passed"
            )
        return adapter

    def asked(self, registrar: str | None, domain: str | None, token: str | None) -> tuple[Asked, str]:
        """Return what a request asks a registrar about, and the token; raises what is wrong with it."""
        name = (registrar or "").strip().lower()
        if name not in self._adapters:
            raise errors.UnsupportedRegistrar(f"the registrars are {', '.join(self.supported)}", self.supported)
        if not (domain or "").strip():
            raise errors.MissingDomain("name the domain whose registrar is asked")
        if not (token or "").strip():
            form = self._adapters[name].about.token_form
            raise errors.MissingToken(f"send the registrar's token, in the form {form}")
        return Asked(name, registrable(domain or "")), (token or "").strip()


def registrable(domain: str) -> str:
    """Return a domain as a registrar knows it; raises InvalidFormat for a sub-domain and for a public suffix."""
    name = names.domain(domain)
    found = base.registrable(name)
    if found == name:
        return name
    if found is None:
        raise errors.InvalidFormat(f"{name} is a public suffix; name a domain below it")
    raise errors.InvalidFormat(f"{name} is a sub-domain; a registrar knows {found} alone")


def as_error(failure: base.RegistrarError) -> errors.RegistrarFailure:
    """Return a registrar's failure as callers get it."""
    # Other packages' adapters may have classes of their own below these.
    told = next((_TOLD_AS[kind] for kind in type(failure).__mro__ if kind in _TOLD_AS), errors.OutcomeUnclear)
    return told(failure.detail, failure.retry_after_seconds)


def ds_of(ds: str, dnskey: str) -> Ds:
    """Return a DS as registrars take it, of the DS and the DNSKEY in presentation form."""
    tag, algorithm, digest_type, digest = ds.split(maxsplit=3)
    flags, _, _, key = dnskey.split(maxsplit=3)
    return Ds(int(tag), int(algorithm), int(digest_type), digest.lower(), int(flags), key.replace(" ", ""))
