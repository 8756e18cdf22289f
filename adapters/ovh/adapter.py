"""OVHcloud as a Registrar.

1. A credential can read its own rules, so that the right to change nameservers can be found out by reading.
2. A domain whose nameservers are OVH's (`hosted`) has to be made `external` before others can be set.
3. Changes are tasks, mostly done in minutes; one that failed may be run again by the customer or by OVH.
4. While a task is under way another one is refused or waits behind it.
5. A DS is set by its DNSKEY; OVH makes the digest, and replaces the whole set.
6. Nameservers that are on their way out are still listed, and those on their way in are listed already.
"""

import base64
from collections.abc import Awaitable, Sequence
from typing import ClassVar

import dns.dnssec
import dns.exception
import dns.rdata

from adapters.base import (
    SECONDS,
    About,
    Change,
    DomainNotInAccount,
    Ds,
    DsRdata,
    Follows,
    InvalidCredential,
    Locked,
    MissingPermission,
    NotSupported,
    OutcomeUnclear,
    Pending,
    Progress,
    Registrar,
    RegistrarError,
    Rejected,
    SetsDs,
    SetsGlue,
    Unavailable,
    Validation,
    known,
    wanted,
)
from adapters.change import set_nameservers, settle
from adapters.http import Http, deadline
from adapters.ovh.api import ENDPOINTS, Api, Clock, Credential, Domain, DsRecord, Task, parse
from adapters.quoted import quoted

_NAMESERVER_TASK, _DS_TASK = "DomainDnsUpdate", "DomainDsUpdate"
_GLUE_CREATE, _GLUE_UPDATE = "DomainHostCreate", "DomainHostUpdate"
_POLL_SECONDS = 60
_SHA256 = 2
_NOT_PUBLISHED = {"generated", "removed", "revoked"}
"""Statuses of a key that the registry has no DS of, not yet or not any more."""


class Ovh:
    """Domains registered with OVHcloud."""

    about: ClassVar[About] = About(
        name="ovh",
        title="OVHcloud",
        token_form="applicationKey:applicationSecret:consumerKey",  # noqa: S106 - the form, not a token
        token_url="https://www.ovh.com/auth/api/createToken",  # noqa: S106
        sets_nameservers=True,
        tells_permission=True,
        reads_ds=True,
        sets_ds=True,
        asynchronous=True,
        settles_within=900,
        propagation="5 to 10 minutes at OVH; resolvers may keep the old nameservers for up to 48 hours",
        notes=(
            "The token needs GET, POST and PUT on /domain/{domain} and below; it belongs to one region (EU, CA, US).",
        ),
    )

    def __init__(self, http: Http, url: str = ENDPOINTS["ovh-eu"]) -> None:
        """`url` is a region's, up to and including /1.0."""
        self._http = http
        self._url = url
        self._clock = Clock()

    async def validate(self, credential: str, domain: str, *, within: float = SECONDS) -> Validation:
        """See Registrar."""
        api = self._api(credential, within)
        found = await _credential(api)
        state = await api.get_domain(domain)
        nameservers = await _on_record(api, domain)
        obstacle = None if found is None else missing(found, domain, state)
        return Validation(
            nameservers=nameservers,
            can_set_nameservers=None if found is None else obstacle is None,
            obstacle=obstacle,
            warnings=_warnings(found, obstacle),
        )

    async def get_nameservers(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[str, ...]:
        """See Registrar."""
        api = self._api(credential, within)
        await api.get_domain(domain)
        return await _on_record(api, domain)

    async def set_nameservers(
        self, credential: str, domain: str, nameservers: Sequence[str], *, within: float = SECONDS
    ) -> Change:
        """See Registrar."""
        hosts = wanted(nameservers)
        api = self._api(credential, within)
        state = await api.get_domain(domain)

        async def write() -> Pending | None:
            await _refuse_while_under_way(api, domain, _NAMESERVER_TASK)
            if state.name_server_type == "hosted":
                # Made external in vain, the domain would lose the DNSSEC that OVH manages.
                found = await _credential(api)
                if found is not None and (obstacle := missing(found, domain, state)) is not None:
                    raise obstacle
                await api.make_external(domain)
            update = api.update_nameservers(domain, hosts)
            return await _followed(api, domain, _NAMESERVER_TASK, update, credential)

        async def look() -> tuple[tuple[str, ...], None]:
            return await _on_record(api, domain), None

        return await set_nameservers(hosts, look, write)

    async def progress(self, credential: str, domain: str, operation: str, *, within: float = SECONDS) -> Progress:
        """See Follows; a task that failed may still be run again, by the customer or by OVH."""
        api = self._api(credential, within)
        if not operation.isascii() or not operation.isdecimal() or len(operation) > 18:
            raise Rejected("that is not a task of OVH")
        try:
            task = await api.get_task(domain, int(operation))
        except DomainNotInAccount:
            await api.get_domain(domain)
            raise Rejected("OVH does not know that task of the domain; see what it has on record instead") from None
        return Progress(done=task.status == "done", failed=_failed(task, credential), poll_after_seconds=_POLL_SECONDS)

    async def set_glue(
        self, credential: str, domain: str, host: str, addresses: Sequence[str], *, within: float = SECONDS
    ) -> Pending | None:
        """See SetsGlue; raises NotSupported where the registry behind OVH has no hosts of their own."""
        api = self._api(credential, within)
        if not (await api.get_domain(domain)).host_supported:
            raise NotSupported(
                f"OVH's API registers no nameservers below this top-level domain; give {host} its address on the"
                " domain's page at OVH (DNS servers)"
            )
        before: frozenset[str] = frozenset()

        async def look() -> frozenset[str]:
            nonlocal before
            before = frozenset(await api.glue(domain, host))
            return before

        async def write() -> Pending | None:
            function = _GLUE_UPDATE if before else _GLUE_CREATE
            await _refuse_while_under_way(api, domain, function)
            update = api.set_glue(domain, host, addresses, there=bool(before))
            return await _followed(api, domain, function, update, credential)

        return await settle(frozenset(addresses), look, write)

    async def get_ds(self, credential: str, domain: str, *, within: float = SECONDS) -> tuple[Ds, ...]:
        """See ReadsDs; the digests (SHA-256) are made of the keys that OVH has."""
        return await _ds_on_record(self._api(credential, within), domain)

    async def set_ds(
        self, credential: str, domain: str, ds: Sequence[Ds], *, within: float = SECONDS
    ) -> Pending | None:
        """See SetsDs; raises NotSupported where a DS comes without its key, Rejected where the two don't fit."""
        api = self._api(credential, within)
        keys = list(dict.fromkeys(_key(domain, one) for one in ds))

        async def look() -> frozenset[DsRdata]:
            return frozenset(one.rdata for one in await _ds_on_record(api, domain))

        async def write() -> Pending | None:
            await _refuse_while_under_way(api, domain, _DS_TASK)
            return await _followed(api, domain, _DS_TASK, api.update_ds(domain, keys), credential)

        return await settle(frozenset(one.rdata for one in ds), look, write)

    def _api(self, credential: str, within: float) -> Api:
        return Api(self._http, self._url, parse(credential), self._clock, deadline(within))


def missing(credential: Credential, domain: str, state: Domain) -> MissingPermission | None:
    """Return the failure that a change of nameservers would meet for want of a right, None if it has all."""
    needed = [("POST", f"/domain/{domain}/nameServers/update")]
    if state.name_server_type == "hosted":
        needed.append(("PUT", f"/domain/{domain}"))
    for method, path in needed:
        if not any(rule.allows(method, path) for rule in credential.rules):
            return MissingPermission(f"the OVH token lacks the right {method} {path}; create one that has it")
    return None


def _warnings(credential: Credential | None, obstacle: RegistrarError | None) -> tuple[str, ...]:
    if credential is None:
        return (
            "the OVH token may not read its own rights; the first change will show whether it may change nameservers",
        )
    found = [] if obstacle is None else [obstacle.detail]
    if credential.allowed_ips:
        found.append(
            "OVH accepts this token from listed addresses only; keep all of the platform's addresses on its list"
        )
    return tuple(found)


async def _credential(api: Api) -> Credential | None:
    """Return what the credential says of itself, None if it may not."""
    try:
        found = await api.current_credential()
    except MissingPermission:
        return None
    if found.status != "validated":
        raise InvalidCredential("the OVH consumer key is not valid, or no longer; make a new one")
    return found


async def _on_record(api: Api, domain: str) -> tuple[str, ...]:
    listed = await api.nameservers(domain)
    # Until those come that are on their way in, the registry has those that are on their way out.
    coming = any(not one.is_used and not one.to_delete for one in listed)
    return known(one.host for one in listed if one.is_used and (coming or not one.to_delete))


async def _under_way(api: Api, domain: str, function: str) -> Task | None:
    try:
        found = await api.tasks(domain, function)
    except MissingPermission:
        return None
    return next((task for task in found if task.status in {"todo", "doing"}), None)


async def _refuse_while_under_way(api: Api, domain: str, function: str) -> None:
    """Raise Locked while such a change is under way: after a lost reply its task would be taken for ours."""
    if await _under_way(api, domain, function):
        raise Locked("OVH has such a change of the domain under way; try again when it is done")


async def _followed(api: Api, domain: str, function: str, update: Awaitable[Task], credential: str) -> Pending | None:
    """Await an update; where its reply is lost, find its task."""
    try:
        return _pending(await update, credential)
    except OutcomeUnclear:
        try:
            task = await _under_way(api, domain, function)
        except RegistrarError:
            task = None
        if task is None:
            raise
        return _pending(task, credential)


def _failed(task: Task, credential: str) -> RegistrarError | None:
    if task.status == "error":
        why = quoted(task.comment, credential) or "; the task's comment at OVH says why"
        return Rejected(f"OVH could not carry the change out{why}")
    return Rejected("the change was cancelled at OVH") if task.status == "cancelled" else None


def _pending(task: Task, credential: str) -> Pending | None:
    if (failure := _failed(task, credential)) is not None:
        raise failure
    return None if task.status == "done" else Pending(str(task.id), _POLL_SECONDS)


async def _ds_on_record(api: Api, domain: str) -> tuple[Ds, ...]:
    if not (await api.get_domain(domain)).dnssec_supported:
        raise NotSupported("OVH does not offer DNSSEC for this domain")
    try:
        records = [one for one in await api.ds_records(domain) if one.status not in _NOT_PUBLISHED]
        return tuple(sorted(_ds(domain, record) for record in records))
    except (dns.exception.DNSException, ValueError):
        raise Unavailable("OVH gave an answer that cannot be understood") from None


def _ds(domain: str, record: DsRecord) -> Ds:
    """Return the DS (SHA-256) of a key; raises ValueError, DNSException."""
    public_key = record.public_key or record.as_terraform_writes_it
    public = base64.b64decode("".join(public_key.split()), validate=True)
    text = base64.b64encode(public).decode()
    key = dns.rdata.from_text("IN", "DNSKEY", f"{record.flags} 3 {record.algorithm} {text}")
    made = dns.dnssec.make_ds(f"{domain}.", key, "SHA256")
    return Ds(made.key_tag, int(made.algorithm), int(made.digest_type), made.digest.hex(), record.flags, text)


def _key(domain: str, ds: Ds) -> DsRecord:
    if not ds.public_key:
        raise NotSupported("OVH takes the DNSKEY, not the DS alone")
    if ds.digest_type != _SHA256:
        raise NotSupported("OVH makes the digest of a DS by itself, with SHA-256 (digest type 2)")
    try:
        made = _ds(domain, DsRecord(ds.algorithm, ds.flags, ds.public_key))
    except (dns.exception.DNSException, ValueError):
        made = None
    if made is None or made.rdata != ds.rdata:
        raise Rejected("that DS was not made of that DNSKEY")
    return DsRecord(made.algorithm, made.flags, made.public_key, made.key_tag)


_: type[Registrar] = Ovh
__: type[Follows] = Ovh
___: type[SetsDs] = Ovh
____: type[SetsGlue] = Ovh
