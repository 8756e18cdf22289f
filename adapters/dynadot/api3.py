"""Dynadot's older API, api3, in its own words: one address, a command and the key in the query.

https://www.dynadot.com/domain/api3.html

1. The key has to stand in the query: `Request.secret_query` keeps it out of what is logged.
2. The status is 200 for errors too. Success is code 0, a number or a text, below the command's own root.
   That the account is busy may stand in `Status` alone.
3. A bad key is reported below another root, `Response`, without a status.
4. Only custom nameservers are listed; Dynadot's own DNS, parking and forwarding have no list.
5. The reply of get_dnssec is not documented as JSON: any list of DS under a name that says so is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from adapters.base import Ds, OutcomeUnclear, RegistrarError, Rejected, Unavailable
from adapters.dynadot import words
from adapters.dynadot.signature import Key
from adapters.dynadot.state import State, state_of
from adapters.http import Http, Reply, Request, unexpected

T = TypeVar("T")
Fields = dict[str, object]


class Api3:
    """The commands, for one key and until one deadline."""

    def __init__(self, http: Http, url: str, key: Key, until: float) -> None:
        self._http = http
        self._url = f"{url}/api3.json"
        self._key = key
        self._until = until

    async def state(self, domain: str) -> State:
        """Ask domain_info."""
        return await self._read("domain_info", {"domain": domain}, _state)

    async def set_nameservers(self, domain: str, hosts: tuple[str, ...]) -> bool:
        """Send add_ns for each, since set_ns knows only hosts of the account, then set_ns; True: it is done."""
        for host in hosts:
            await self._make_known(host)
        numbered = {f"ns{number}": host for number, host in enumerate(hosts)}
        return await self._write("set_ns", {"domain": domain, **numbered}, lambda _: True)

    async def hosts(self) -> dict[str, str]:
        """Ask server_list; they are called by their id."""
        return await self._read("server_list", {}, _hosts)

    async def register_host(self, host: str, address: str) -> None:
        """Send register_ns."""
        await self._write("register_ns", {"host": host, "ip": address}, lambda _: None)

    async def set_addresses(self, called: str, addresses: Sequence[str]) -> None:
        """Send set_ns_ip, which takes ten."""
        numbered = {f"ip{number}": address for number, address in enumerate(addresses)}
        await self._write("set_ns_ip", {"server_id": called, **numbered}, lambda _: None)

    async def get_ds(self, domain: str) -> tuple[Ds, ...]:
        """Ask get_dnssec."""
        return await self._read("get_dnssec", {"domain_name": domain}, _ds)

    async def add_ds(self, domain: str, ds: Ds) -> None:
        """Send set_dnssec for one DS."""
        fields = {
            "key_tag": str(ds.key_tag), "digest_type": str(ds.digest_type), "digest": ds.digest,
            "algorithm": str(ds.algorithm),
        }  # fmt: skip
        await self._write("set_dnssec", {"domain_name": domain, **fields}, lambda _: None)

    async def clear_ds(self, domain: str) -> None:
        """Send clear_dnssec."""
        await self._write("clear_dnssec", {"domain_name": domain}, lambda _: None)

    async def _make_known(self, host: str) -> None:
        # Refused means known already, mostly; where it does not, set_ns says so.
        with suppress(Rejected):
            try:
                await self._write("add_ns", {"host": host}, lambda _: None)
            except OutcomeUnclear:
                # The list of hosts may have grown; the domain has not been touched.
                raise Unavailable("Dynadot did not answer; the nameservers were not changed") from None

    async def _read(self, command: str, parameters: Mapping[str, str], read: Callable[[Fields], T]) -> T:
        answer = _answer(command, read, Unavailable, self._key)
        return await self._http.read(self._request(command, parameters), answer, self._until)

    async def _write(self, command: str, parameters: Mapping[str, str], read: Callable[[Fields], T]) -> T:
        answer = _answer(command, read, Rejected, self._key)
        return await self._http.write(self._request(command, parameters), answer, self._until)

    def _request(self, command: str, parameters: Mapping[str, str]) -> Request:
        query = {"key": self._key.key, "command": command, **parameters}
        return Request(operation=command, method="GET", url=self._url, secret_query=query)


def _answer(
    command: str, read: Callable[[Fields], T], otherwise: type[RegistrarError], key: Key
) -> Callable[[Reply], T]:
    root = "".join(word.capitalize() for word in command.split("_")) + "Response"

    def interpret(reply: Reply) -> T:
        if not reply.ok:
            raise unexpected(reply)
        body = reply.json(dict[str, Fields])
        found = body.get(root, body.get("Response"))
        if found is None:
            raise words.misunderstood()
        error, status = found.get("Error") or "", found.get("Status", "success")
        if (failure := words.known(error, status)) is not None:
            raise failure
        code = str(found.get("ResponseCode", "")).strip()
        if code not in {"", "0"} or (not code and (error or status == "error")):
            raise words.refused(otherwise, error, key.text)
        if root not in body or not code or error or status != "success":
            raise words.misunderstood()
        return read(found)

    return interpret


def _state(found: Fields) -> State:
    info = words.plain(found.get("DomainInfo"))
    return state_of(info, info.get("nameserversettings"))


def _hosts(found: Fields) -> dict[str, str]:
    return words.hosts_of(found.get("ServerList"))


def _ds(found: Fields) -> tuple[Ds, ...]:
    return words.ds_of({name: value for name, value in found.items() if name not in {"ResponseCode", "Status"}})
