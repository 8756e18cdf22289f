"""One observation of a domain's delegation: what the parent's servers, ours, and the others that serve it say.

Only collects; what it means is decided in `delegation`. Nothing here raises for what servers do.
"""

import asyncio
import secrets
from collections.abc import Iterable
from datetime import datetime
from time import monotonic

import dns.flags
import dns.rcode
import msgspec
from dns.message import Message

from pdm_service.delegations.answers import (
    Zone,
    bare,
    challenge_view,
    ds_in,
    ds_text,
    hosts,
    is_answer,
    legible,
    parent_view,
    rrsets,
    server_state,
    signing_ds,
    txt_in,
)
from pdm_service.delegations.prober import MAX_ADDRESSES, MAX_SERVERS, Host, OutOfBudget, Round
from pdm_service.dns_client import NoAnswer
from pdm_service.model.allocation import CHALLENGE_LABEL
from pdm_service.model.observation import (
    ChallengeState,
    ChallengeView,
    Observation,
    ParentState,
    ParentView,
    ServerState,
    ServerView,
)
from pdm_service.model.records import Nameserver
from pdm_service.names import MAX_NAME


async def observe(round_: Round, domain: str, wanted: tuple[str, ...], now: datetime) -> Observation:
    """Collect all that there is to be seen of a domain's delegation. Never raises for what servers do."""
    try:
        parent = await round_.parent_of(domain)
    except NoAnswer as failure:
        parent, why = None, str(failure)
    platform = asyncio.ensure_future(servers(round_, domain, wanted))
    parents = await _parents(round_, parent, domain) if parent else ()
    named = {name for view in parents for name in view.nameservers}
    others = await servers(round_, domain, tuple(sorted(named - set(wanted)))[:MAX_SERVERS])
    return Observation(
        domain=domain,
        at=now,
        parent=parent.name if parent else None,
        parents=parents,
        servers=await platform,
        others=others,
        queries=round_.queries,
        complete=not round_.exhausted,
        error=None if parent else f"the parent zone was not found: {why}",
    )


class Shown(msgspec.Struct, frozen=True):
    """What the authoritative servers of the time have at the name of a domain's challenge."""

    texts: frozenset[str] | None
    """What all of them have that answered, without blanks and quotes around it; None: nobody answers."""
    views: tuple[ChallengeView, ...]


async def challenge(round_: Round, seen: Observation) -> Shown:
    """Return the TXT that all authoritative servers of the time have where a claim's challenge has to stand.

    Those are the nameservers that the parent names, or the parent's own where it names none. The platform's
    are not asked: what they would say is ours to say. What stands at every name, by a wildcard (RFC 4592), does not
    stand at this one; nor does what an alias leads to.
    """
    zone, asked = seen.domain, list[ServerView | ParentView](seen.others)
    if not asked and not any(view.nameservers for view in seen.parents):
        zone, asked = seen.parent or "", [view for view in seen.parents if view.state in {"nodata", "nxdomain"}]
    name = f"{CHALLENGE_LABEL}.{seen.domain}"
    found = await asyncio.gather(*(_challenge(round_, view, name, zone) for view in asked))
    heard = [texts for texts, _ in found if texts is not None]
    return Shown(frozenset.intersection(*heard) if heard else None, tuple(view for _, view in found))


async def _challenge(
    round_: Round, asked: ServerView | ParentView, name: str, zone: str
) -> tuple[frozenset[str] | None, ChallengeView]:
    """Return the texts at a challenge's name at one server, and what to tell of it."""
    view = ChallengeView(name=asked.name, address=asked.address, state="not-serving", error=asked.error)
    if isinstance(asked, ServerView) and asked.state != "serving":
        return None, msgspec.structs.replace(
            view, state=_KEPT.get(asked.state, "not-serving"), error=asked.error or _NAMELESS.get(asked.state)
        )
    server = Nameserver(asked.name, asked.address, round_.port_of(asked.name, asked.address))
    reply = await round_.reply(server, name, "TXT")
    if isinstance(reply, NoAnswer):
        silent: ChallengeState = "unasked" if isinstance(reply, OutOfBudget) else "silent"
        return None, msgspec.structs.replace(view, state=silent, error=str(reply))
    view = challenge_view(view, reply, name)
    if view.state == "texts":
        everywhere = await _texts(round_, server, f"{secrets.token_hex(8)}.{name}")
        if everywhere is None:
            return None, msgspec.structs.replace(view, error="whether they stand at every name was not found out")
        own = bare(txt_in(reply, name)) - bare(everywhere)
        return own, view if own else msgspec.structs.replace(view, state="everywhere")
    if view.state not in {"nodata", "nxdomain"}:
        return frozenset() if view.state == "alias" else None, view
    # Where the whole name was typed into a field that wants the part before the zone's name.
    doubled = f"{name}.{zone}"
    if zone and len(doubled) <= MAX_NAME and (texts := await _texts(round_, server, doubled)):
        view = msgspec.structs.replace(view, doubled=doubled, texts=legible(texts))
    return frozenset(), view


_KEPT: dict[ServerState, ChallengeState] = {"silent": "silent", "unasked": "unasked"}
_NAMELESS: dict[ServerState, str] = {"unresolved": "its name has no address", "alias": "its name is an alias"}


async def _texts(round_: Round, server: Nameserver, name: str) -> frozenset[str] | None:
    reply = await round_.reply(server, name, "TXT")
    return None if isinstance(reply, NoAnswer) or not is_answer(reply) else txt_in(reply, name)


async def _parents(round_: Round, parent: Zone, domain: str) -> tuple[ParentView, ...]:
    names = parent.servers[:MAX_SERVERS]
    found = await asyncio.gather(*(_parent_host(round_, parent, name) for name in names))
    views = await asyncio.gather(
        *(_parent(round_, one, parent, domain) for host in found for one in host.addresses[:MAX_ADDRESSES])
    )
    return tuple(sorted(views, key=lambda view: (view.name, view.address)))


async def _parent_host(round_: Round, parent: Zone, name: str) -> Host:
    return Host(glued) if (glued := round_.glued(parent, name)) else await round_.host(name)


async def _parent(round_: Round, server: Nameserver, parent: Zone, domain: str) -> ParentView:
    view = ParentView(name=server.name, address=server.address, state="unasked")
    if not round_.may_contact(server.address):
        return msgspec.structs.replace(view, error="not a public address")
    start = monotonic()
    ds = asyncio.ensure_future(round_.reply(server, domain, "DS"))
    reply = await round_.reply(server, domain, "NS")
    seconds = monotonic() - start
    ds_reply = await ds
    if isinstance(reply, NoAnswer):
        state: ParentState = "unasked" if isinstance(reply, OutOfBudget) else "silent"
        return msgspec.structs.replace(view, state=state, error=str(reply))
    found = parent_view(view, reply, parent.name, domain)
    texts, ttl = ds_in(ds_reply, domain) if isinstance(ds_reply, Message) else (None, None)
    if found.state == "answer" and isinstance(ds_reply, Message) and ds_reply.rcode() == dns.rcode.NXDOMAIN:
        # The child's own zone answered NS; only DS is answered from the parent (RFC 4035 section 3.1.4.1).
        found = msgspec.structs.replace(found, state="nxdomain", nameservers=(), ns_ttl=None)
    return msgspec.structs.replace(found, ds=texts, ds_ttl=ttl, rtt_ms=round(seconds * 1000))


async def servers(round_: Round, domain: str, names: Iterable[str]) -> tuple[ServerView, ...]:
    """Return what every address of some nameservers says of a zone."""
    views = await asyncio.gather(*(_host_views(round_, domain, name) for name in names))
    return tuple(view for found in views for view in found)


async def _host_views(round_: Round, domain: str, name: str) -> list[ServerView]:
    host = await round_.host(name)
    if not host.addresses:
        out = round_.exhausted
        state: ServerState = "alias" if host.alias else "unasked" if out else "unresolved"
        return [ServerView(name=name, address="", state=state)]
    return await asyncio.gather(*(server(round_, domain, one) for one in host.addresses[:MAX_ADDRESSES]))


async def server(round_: Round, domain: str, nameserver: Nameserver) -> ServerView:
    """Return what one address of a nameserver says of a zone."""
    view = ServerView(name=nameserver.name, address=nameserver.address, state="unasked")
    if not round_.may_contact(nameserver.address):
        return msgspec.structs.replace(view, error="not a public address")
    start = monotonic()
    edns, plain, tcp = await asyncio.gather(
        round_.reply(nameserver, domain, "SOA"),
        round_.reply(nameserver, domain, "SOA", edns=False),
        round_.reply(nameserver, domain, "SOA", tcp=True),
    )
    replies = [reply for reply in (edns, plain, tcp) if isinstance(reply, Message)]
    if not replies:
        state: ServerState = "unasked" if isinstance(edns, OutOfBudget) else "silent"
        return msgspec.structs.replace(view, state=state, error=str(edns), udp=False, edns=False, tcp=False)
    best = max(replies, key=lambda reply: server_state(reply, domain) == "serving")
    soa = rrsets(best.answer, domain, "SOA")
    view = msgspec.structs.replace(
        view,
        state=server_state(best, domain),
        serial=soa[0][0].serial if soa else None,
        udp=isinstance(edns, Message) or isinstance(plain, Message),
        edns=isinstance(edns, Message) and edns.edns >= 0 and edns.rcode() != dns.rcode.FORMERR,
        tcp=isinstance(tcp, Message),
        rtt_ms=round((monotonic() - start) * 1000),
        error=None if best.rcode() == dns.rcode.NOERROR else dns.rcode.to_text(best.rcode()),
    )
    return await _apex(round_, view, nameserver, domain) if view.state == "serving" else view


async def _apex(round_: Round, view: ServerView, nameserver: Nameserver, domain: str) -> ServerView:
    edns = bool(view.edns)
    replies = await asyncio.gather(
        *(round_.reply(nameserver, domain, rtype, edns=edns) for rtype in ("NS", "DNSKEY", "CDS"))
    )
    ns, keys, cds = (reply.answer if isinstance(reply, Message) else [] for reply in replies)
    apex = rrsets(ns, domain, "NS")
    return msgspec.structs.replace(
        view,
        nameservers=hosts(apex),
        ns_ttl=apex[0].ttl if apex else None,
        signing_ds=signing_ds(keys, domain),
        cds=tuple(sorted(ds_text(one) for rrset in rrsets(cds, domain, "CDS") for one in rrset)),
    )
