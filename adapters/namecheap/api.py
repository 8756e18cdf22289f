"""Namecheap's API in its own words: XML over one address, commands by name.

https://www.namecheap.com/support/api/intro/

1. The status is 200 for errors too: `Status` of the reply decides, then its error numbers.
2. Its limit (20 requests a minute, 700 an hour, 8,000 a day, by key) shows as status 405, or as error 500000.
3. It knows callers by IPv4 address, from a list that the customer keeps.
4. Parameters go in a form body: in an address the key would end up in logs.
"""

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from typing import TypeVar
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from adapters.base import (
    AccountNotEligible,
    AddressNotAllowed,
    DomainNotInAccount,
    InvalidCredential,
    MissingPermission,
    NotSupported,
    RateLimited,
    RegistrarError,
    Rejected,
    Unavailable,
    public_suffix,
)
from adapters.http import Http, Reply, Request, rate_limited, unexpected
from adapters.quoted import quoted

T = TypeVar("T")

BASE_URL = "https://api.namecheap.com/xml.response"
_NAMESPACE = {"n": "http://api.namecheap.com/xml.response"}
_LOCKED_OUT_SECONDS, _SPENT_SECONDS = 900, 3600
_NOT_OURS = "the domain is not in this Namecheap account"
_FAILURES: dict[str, tuple[type[RegistrarError], str]] = {
    "1010101": (InvalidCredential, "Namecheap did not get the API user"),
    "1010102": (InvalidCredential, "Namecheap did not get the API key"),
    "1011102": (InvalidCredential, "Namecheap refuses the API key, or API access is not switched on in the account"),
    "1011150": (AddressNotAllowed, "Namecheap does not take this key from our IPv4 address; add it to the key's list"),
    "1017150": (AddressNotAllowed, "Namecheap has disabled our IPv4 address for this account"),
    "1017105": (AddressNotAllowed, "Namecheap has disabled the client address for this account"),
    "1017101": (InvalidCredential, "the API user is disabled or locked at Namecheap"),
    "1017103": (InvalidCredential, "the user name is disabled or locked at Namecheap"),
    "1019103": (InvalidCredential, "Namecheap does not know the user name"),
    "1016103": (InvalidCredential, "the user name is not authorised at Namecheap"),
    "1030408": (InvalidCredential, "Namecheap does not take this kind of credential"),
    "1017410": (AccountNotEligible, "Namecheap has blocked the account after declined payments"),
    "2019166": (DomainNotInAccount, _NOT_OURS),
    "2016166": (DomainNotInAccount, _NOT_OURS),
    "2030166": (DomainNotInAccount, _NOT_OURS),
    "3016166": (DomainNotInAccount, _NOT_OURS),
    "4011103": (MissingPermission, "Namecheap denies this account the access to the domain"),
    "2030280": (NotSupported, "Namecheap's API does not serve this top-level domain"),
    "2050900": (Rejected, "Namecheap calls one of the nameservers invalid"),
}
_UNDOCUMENTED = ", for a reason that it does not document"
_NOT_ON_THE_LIST = "1011150"
_FAILING = {"1050900", "3050900", "4022288", "5019169", "5050169", "5050900"}
"""Exceptions at Namecheap, or behind it: of a change they don't say whether it was made."""
_LIMITS = {"1017411": _LOCKED_OUT_SECONDS, "500000": _SPENT_SECONDS}
_SEVEREST_FIRST = (
    RateLimited, InvalidCredential, AddressNotAllowed, AccountNotEligible, MissingPermission, DomainNotInAccount,
    NotSupported, Rejected,
)  # fmt: skip
_FORM = "a Namecheap token is apiUser:apiKey[:userName][:clientIp]"


@dataclass(frozen=True)
class Key:
    """A credential: `apiUser:apiKey[:userName][:clientIp]`."""

    api_user: str
    api_key: str = field(repr=False)
    user_name: str
    client_ip: str | None
    text: str = field(default="", repr=False)
    """As the customer wrote it."""

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Read the written form; raises InvalidCredential."""
        parts = text.strip().split(":")
        address = _ipv4(parts.pop()) if len(parts) in {3, 4} and _ipv4(parts[-1]) else None
        if len(parts) not in {2, 3} or not all(re.fullmatch(r"[!-~]{1,64}", part) for part in parts):
            raise InvalidCredential(_FORM)
        return cls(parts[0], parts[1], parts[-1] if len(parts) == 3 else parts[0], address, text)


@dataclass(frozen=True)
class Domain:
    """What getInfo says of a domain."""

    status: str
    owner: bool
    provider: str
    rights: frozenset[str]
    """The kinds of change that another owner allows; `*` for all."""
    nameservers: tuple[str, ...]


class Api:
    """The commands, for one credential and until one deadline."""

    def __init__(self, http: Http, url: str, key: Key, client_ip: str | None, until: float) -> None:
        """`client_ip` is the address that we call from, where it is known and the credential has none."""
        self._http = http
        self._url = url
        self._key = key
        self._client_ip = key.client_ip or client_ip or _source_address()
        self._until = until

    async def get_info(self, domain: str) -> Domain:
        """Ask namecheap.domains.getInfo.

        https://www.namecheap.com/support/api/methods/domains/get-info/
        """
        request = self._request("namecheap.domains.getInfo", {"DomainName": domain})
        return await self._http.read(request, _answer(_domain, self._key.text), self._until)

    async def set_custom(self, domain: str, nameservers: tuple[str, ...]) -> None:
        """Send namecheap.domains.dns.setCustom.

        https://www.namecheap.com/support/api/methods/domains-dns/set-custom/
        """
        parameters = {**_split(domain), "Nameservers": ",".join(nameservers)}
        request = self._request("namecheap.domains.dns.setCustom", parameters)
        await self._http.write(request, _answer(_updated, self._key.text, changes=True), self._until)

    async def host_address(self, domain: str, host: str) -> str | None:
        """Ask namecheap.domains.ns.getInfo; None where there is no such nameserver.

        https://www.namecheap.com/support/api/methods/domains-ns/getinfo/
        """
        request = self._request("namecheap.domains.ns.getInfo", {**_split(domain), "Nameserver": host})
        try:
            return await self._http.read(request, _answer(_host_address, self._key.text, changes=True), self._until)
        except Rejected:
            return None  # it has no number of its own for that; if it means something else, `set_host` meets it

    async def set_host(self, domain: str, host: str, address: str, before: str | None) -> None:
        """Send namecheap.domains.ns.create, or ns.update where there is an address before.

        https://www.namecheap.com/support/api/methods/domains-ns/create/
        """
        command = "namecheap.domains.ns.create" if before is None else "namecheap.domains.ns.update"
        old = {} if before is None else {"OldIP": before}
        parameters = {**_split(domain), "Nameserver": host, **old, "IP": address}
        request = self._request(command, parameters)
        await self._http.write(request, _answer(_succeeded, self._key.text, changes=True), self._until)

    def _request(self, command: str, parameters: Mapping[str, str]) -> Request:
        form = {
            "ApiUser": self._key.api_user,
            "ApiKey": self._key.api_key,
            "UserName": self._key.user_name,
            "ClientIp": self._client_ip,
            "Command": command,
            **parameters,
        }
        return Request(
            operation=command.rpartition(".")[2],
            method="POST",
            url=self._url,
            headers={"content-type": "application/x-www-form-urlencoded"},
            content=urlencode(form).encode(),
        )


def _answer(read: Callable[[Element], T], credential: str, *, changes: bool = False) -> Callable[[Reply], T]:
    """Return what understands a reply to a command that reads or `changes`."""

    def interpret(reply: Reply) -> T:
        if reply.status in {405, 429}:
            raise rate_limited(reply)
        if not reply.ok:
            raise unexpected(reply)
        root = _xml(reply.body)
        if root.get("Status") != "OK":
            errors = [(one.get("Number", ""), one.text) for one in root.iterfind("n:Errors/n:Error", _NAMESPACE)]
            raise _failure(errors, credential, changes=changes)
        command = root.find("n:CommandResponse", _NAMESPACE)
        if command is None or not len(command):
            raise _misunderstood()
        return read(command[0])

    return interpret


def _xml(body: bytes) -> Element:
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # the last: an encoding that nobody knows
        raise _misunderstood() from None
    if root.tag != f"{{{_NAMESPACE['n']}}}ApiResponse":
        raise _misunderstood()
    return root


def _domain(result: Element) -> Domain:
    details = result.find("n:DnsDetails", _NAMESPACE)
    rights = result.find("n:Modificationrights", _NAMESPACE)
    if result.get("IsOwner") is None or details is None:
        raise _misunderstood()
    allowed = {
        right.get("Type", "").lower()
        for right in ([] if rights is None else rights)
        if (right.text or "").strip().upper() == "OK"
    }
    everything = {"*"} if rights is not None and rights.get("All", "").lower() == "true" else set()
    return Domain(
        status=result.get("Status", "").lower(),
        owner=result.get("IsOwner", "").lower() == "true",
        provider=details.get("ProviderType", "").lower(),
        rights=frozenset(allowed | everything),
        nameservers=tuple(host.text or "" for host in details.iterfind("n:Nameserver", _NAMESPACE)),
    )


def _split(domain: str) -> dict[str, str]:
    suffix = public_suffix(domain)
    return {"SLD": domain.removesuffix(f".{suffix}"), "TLD": suffix}


def _host_address(result: Element) -> str:
    address = (result.get("IP") or result.findtext("n:IP", "", _NAMESPACE) or "").strip()
    if not address:
        raise _misunderstood()
    return address


def _succeeded(result: Element) -> None:
    if result.get("IsSuccess", "").lower() != "true":
        raise Rejected("Namecheap did not register the nameserver, and does not say why")


def _updated(result: Element) -> None:
    updated = result.get("Updated", result.get("Update"))
    if updated is None:
        raise _misunderstood()
    # OK with Updated="false" has been seen where nothing was changed.
    if updated.lower() != "true":
        raise Rejected("Namecheap did not make the change, and does not say why")


def _failure(errors: list[tuple[str, str | None]], credential: str, *, changes: bool) -> RegistrarError:
    found = [_one_failure(number, text or "", credential, changes=changes) for number, text in errors or [("", "")]]
    for kind in _SEVEREST_FIRST:
        for failure in found:
            if isinstance(failure, kind):
                return failure
    return found[0]


def _one_failure(number: str, text: str, credential: str, *, changes: bool) -> RegistrarError:
    if number in _LIMITS:
        return RateLimited("Namecheap takes no more requests with this key for now", _LIMITS[number], number)
    kind, detail = _FAILURES.get(number, (Unavailable, "Namecheap's API is failing"))
    if number == "2030166" and changes:
        kind, detail = MissingPermission, "Namecheap does not let this account change the domain's nameservers"
    elif changes and kind is Unavailable and number not in _FAILING:
        kind, detail = Rejected, f"Namecheap refuses the change{quoted(text, credential) or _UNDOCUMENTED}"
    elif number == _NOT_ON_THE_LIST and (address := _address_in(text)):
        detail = f"Namecheap does not take this key from {address}; add that address to the key's list"
    return kind(detail, number if number.isdecimal() and len(number) < 9 else "")


def _misunderstood() -> Unavailable:
    return Unavailable("Namecheap gave an answer that cannot be understood")


def _address_in(text: str) -> str | None:
    """Return the address that Namecheap saw us come from, which it tells as `Invalid request IP: 192.0.2.1`."""
    found = re.search(r"\bIP:?\s*((?:[0-9]{1,3}\.){3}[0-9]{1,3})(?![0-9.])", text)
    return _ipv4(found[1]) if found else None


def _ipv4(text: str) -> str | None:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        return None


def _source_address() -> str:
    """Return the IPv4 address that this machine calls others from; asks nobody.

    Behind NAT it is not the one that Namecheap sees, and what counts there is the one that it sees.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
        try:
            unsent.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(unsent.getsockname()[0])
