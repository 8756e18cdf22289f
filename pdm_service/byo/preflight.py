"""The pre-flight: what may go wrong when a customer's domain changes its nameservers. Pure.

`judge` goes through the checks below in order; each is one function and the one place for its codes. A `block` has
to be fixed first; a caller may go on over an `acknowledge` by naming its code; the rest is information.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from functools import cached_property

from msgspec import Struct

from adapters.base import MAX_NAMESERVERS, MIN_NAMESERVERS, registrable
from pdm_service import names
from pdm_service.byo import standing_ds
from pdm_service.findings import Finding
from pdm_service.model.observation import Observation, OldZone, ParentView, Registry, ServerView, Unseen, mail_questions
from pdm_service.model.records import RRset
from pdm_service.model.zone import ADDRESS_TYPES, canonical_names

_EXPIRES_SOON = timedelta(days=30)
_LONG_TTL = 3600
_ON_HOLD = ("client hold", "server hold", "redemption period", "pending delete", "pending transfer", "pending restore")
_DELETE_CDS = "0 0 0 00"
_SPECIAL = ("test", "example", "invalid", "localhost", "local", "onion", "alt", "internal", "arpa")
"""RFC 6761, RFC 6762, RFC 7686, RFC 9476; ICANN's `internal`; the infrastructure's `arpa`."""
_SPECIAL_DOMAINS = ("example.com", "example.net", "example.org")


class Facts(Struct, frozen=True, kw_only=True, dict=True):
    """All that is judged."""

    domain: str
    now: datetime
    flips: bool
    """Whether the service is to change the nameservers at the registrar."""
    pool_domains: tuple[str, ...]
    nameservers: tuple[str, ...]
    """The platform's, sorted."""
    observation: Observation
    old: OldZone | None
    registry: Registry | None
    """None: the registry could not be asked."""
    held_by: str | None
    """A name at or above the domain that somebody else holds."""
    below: tuple[str, ...]
    """Names below the domain that are held here."""
    proven: bool
    """Whether a TXT record has shown that the domain is the caller's."""
    ours: bool
    """Whether the caller has the domain already."""
    ds_gone_at: datetime | None
    """When a DS was last seen at the parent, if there is none now."""
    ds_ttl: int | None
    registered_nameservers: tuple[str, ...] | None = None
    """On record at the registrar."""
    obstacle: str | None = None
    """Why the registrar will not have them changed."""
    may_set: bool | None = None
    prepared: tuple[ServerView, ...] = ()
    """The platform's nameservers, asked for the zone that was prepared; empty before it is."""
    missing: tuple[str, ...] = ()
    """RRsets that the prepared zone should have."""
    signed: bool | None = None
    imported: frozenset[tuple[str, str]] = frozenset()
    """Name (with the trailing dot) and type of what the commit copies."""
    transferable: bool | None = None
    acme_issuers: tuple[str, ...] = ()

    @property
    def apex(self) -> str:
        """The domain as the name of RRsets."""
        return f"{self.domain}."

    @property
    def answered(self) -> tuple[ParentView, ...]:
        """The parent's servers that gave a usable answer."""
        return tuple(view for view in self.observation.parents if view.usable)

    @property
    def delegated_to(self) -> tuple[str, ...]:
        """The nameservers that any server of the parent names."""
        return tuple(sorted({name for view in self.answered for name in view.nameservers}))

    @cached_property
    def mail_hosts(self) -> set[str]:
        """The hosts that mail goes to, or comes from: without their addresses it goes to the platform's wildcard."""
        found = self.old.rrsets if self.old else ()
        return {content.split()[-1].lower() for one in found if one.type in {"MX", "SRV"} for content in one.contents}

    def lost(self) -> list[RRset]:
        """Return the RRsets of the old zone that the commit does not copy."""
        found = self.old.rrsets if self.old else ()
        return [one for one in found if (one.name, one.type) not in self.imported]


def judge(facts: Facts) -> tuple[Finding, ...]:
    """Return all that was found, in the order of the checks."""
    return tuple(finding for check in _CHECKS for finding in check(facts))


def blocking(findings: Iterable[Finding], acknowledged: Collection[str]) -> tuple[Finding, ...]:
    """Return those findings that stand in the way."""
    return tuple(
        one
        for one in findings
        if one.severity == "block" or (one.severity == "acknowledge" and one.code not in acknowledged)
    )


def losses(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return those findings that say what the zone before has, and the new one has not."""
    return tuple(one for one in findings if one.code.startswith("BYO-OLD-") or one.code == "BYO-CAA")


def special_use(domain: str) -> str | None:
    """Return why a name can be nobody's domain, None where it can."""
    if domain.rpartition(".")[2] in _SPECIAL or domain in _SPECIAL_DOMAINS:
        return "is set apart for special use (RFC 6761)"
    if registrable(domain) is None:
        return "is a public suffix: nobody's domain, but one below which domains are registered"
    return None


# --- the name -----------------------------------------------------------------------------------------


def _name(facts: Facts) -> Iterable[Finding]:
    reason = special_use(facts.domain)
    if any(names.covers(facts.domain, pool) or names.covers(pool, facts.domain) for pool in facts.pool_domains):
        reason = "is a pool domain, or lies above or below one"
    if reason:
        yield _block("BYO-NAME", f"{facts.domain} {reason}", "choose a domain that you have registered")


def _not_apex(facts: Facts) -> Iterable[Finding]:
    upper = registrable(facts.domain)
    if upper is None or upper == facts.domain:
        return
    seen = f"{facts.domain} is a sub-domain of {upper}"
    if facts.flips:
        yield _block(
            "BYO-NOT-APEX", f"{seen}: a registrar's change would move all of {upper}",
            "use byo-manual, and add NS and DS in the zone above",
        )  # fmt: skip
    else:
        hosts = ", ".join(facts.nameservers)
        remedy = f"have the zone above hold NS for {facts.domain} with {hosts}, and later the DS that the service shows"
        yield _info("BYO-NOT-APEX", f"{seen}: its delegation belongs in the zone above", remedy)


def _claimed(facts: Facts) -> Iterable[Finding]:
    if facts.held_by:
        yield _block(
            "BYO-CLAIMED",
            f"somebody else holds {'it' if facts.held_by == facts.domain else 'a name above it'}",
            "ask its holder to release it, or choose another domain",
        )


def _below(facts: Facts) -> Iterable[Finding]:
    if not facts.below:
        return
    # Only whoever has shown that the domain is theirs is told which.
    which = ", ".join(facts.below) if facts.flips or facts.proven else "a name"
    yield below_held(f"{which} below {facts.domain} is held here")


def below_held(seen: str) -> Finding:
    """Return the finding about names below a domain that others hold: whoever proves the upper one decides."""
    remedy = "ask the holder to release it; to acknowledge this ends it, and takes it out of DNS first"
    return Finding(code="BYO-BELOW", severity="acknowledge", seen=seen, remedy=remedy)


def _lame_claim(facts: Facts) -> Iterable[Finding]:
    ours = set(facts.delegated_to) & set(facts.nameservers)
    if ours and not facts.ours and not facts.proven and not facts.flips:
        yield _block(
            "BYO-LAME-CLAIM", f"{facts.domain} already points here, which proves nothing",
            "prove it with the TXT record at other nameservers, or with a token of the registrar",
        )  # fmt: skip


# --- the registry -------------------------------------------------------------------------------------


def _unregistered(facts: Facts) -> Iterable[Finding]:
    if not facts.answered:
        why = facts.observation.error or "no nameserver of the parent zone answers"
        severity = _block if facts.flips else _warn
        yield severity("BYO-PARENT-UNREACHABLE", f"the parent zone cannot be asked: {why}", "try again shortly")
    elif all(view.state == "nxdomain" for view in facts.answered):
        seen = f"{facts.domain} does not exist in its parent zone"
        if registrable(facts.domain) == facts.domain:
            yield _block("BYO-UNREG", seen, "register it first")
    elif not facts.delegated_to and registrable(facts.domain) == facts.domain:
        yield _block(
            "BYO-UNREG", f"{facts.domain} has no nameservers in its parent zone", "register it first, or end its hold"
        )


def _hold(facts: Facts) -> Iterable[Finding]:
    if facts.registry is None:
        if facts.flips:
            yield _warn("BYO-HOLD", "the registry could not be asked for holds and locks", "check the registrar's site")
        return
    if held := [status for status in facts.registry.statuses if status in _ON_HOLD]:
        yield _block("BYO-HOLD", f"the registry says: {', '.join(held)}", "settle this with the registrar first")
    expires = facts.registry.expires_at
    if expires is not None and expires - facts.now < _EXPIRES_SOON:
        yield _warn("BYO-HOLD", f"the registration ends on {expires:%Y-%m-%d}", "renew it")


def _lock(facts: Facts) -> Iterable[Finding]:
    statuses = facts.registry.statuses if facts.registry else ()
    if "server update prohibited" in statuses:
        yield _block("BYO-LOCK", "the registry has locked the domain", "ask the registrar to lift the registry lock")
    elif "client update prohibited" in statuses:
        yield _acknowledge(
            "BYO-LOCK", "the registrar has locked the domain against changes", "lift the lock at the registrar"
        )


def _parent_split(facts: Facts) -> Iterable[Finding]:
    if len({(view.nameservers, view.ds) for view in facts.answered}) > 1:
        yield _acknowledge(
            "BYO-PARENT-SPLIT",
            "the nameservers of the parent zone disagree: a change is under way",
            "wait until it is done",
        )


# --- DNSSEC -------------------------------------------------------------------------------------------


def _ds(facts: Facts) -> Iterable[Finding]:
    found = standing_ds.on_record(facts.domain, facts.observation)
    if found is None:
        return
    if found.kind == "there" and not (facts.ours and set(facts.delegated_to) == set(facts.nameservers)):
        yield _block("BYO-DS", found.seen, f"{found.remedy}; the platform's is published afterwards")
    elif found.kind == "unknown" and facts.answered and facts.flips:
        yield _block("BYO-DS", found.seen, found.remedy)


def _ds_recent(facts: Facts) -> Iterable[Finding]:
    if found := standing_ds.in_caches(facts.ds_gone_at, facts.ds_ttl, facts.now):
        yield _block("BYO-DS-RECENT", found.seen, found.remedy)


def _cds(facts: Facts) -> Iterable[Finding]:
    found = {one for view in facts.observation.others for one in view.cds}
    if found and found != {_DELETE_CDS}:
        yield _warn(
            "BYO-CDS", "the current zone publishes CDS: the registry may put the DS back",
            "ask the former operator to publish CDS 0 0 0 00, or to publish no CDS (RFC 8078)",
        )  # fmt: skip


# --- what would be lost -------------------------------------------------------------------------------


def _unseen(facts: Facts) -> Iterable[Finding]:
    """Yield what was not answered: it may be there, and no mail is lost because a server was slow."""
    if facts.old is None or not facts.old.unanswered:
        return
    unseen = facts.old.unanswered
    remedy = (
        "try again shortly; what stays unanswered, its provider has to mend, or the customer changes the nameservers"
    )
    if not facts.old.asked:
        yield _block(
            "BYO-OLD-UNSEEN", "none of the current nameservers answers: what the zone has is not known", remedy
        )
        return
    counts = Counter(map(_kind, unseen))
    kinds = ", ".join(f"{count} about {kind}" for kind, count in sorted(counts.items()))
    waiting = sum(not one.tries for one in unseen)
    still = f"; {waiting} of them are still being asked" if waiting else ""
    seen = f"{len(unseen)} questions about the current zone have no answer yet ({kinds}){still}"
    if mail := [one for one in unseen if (one.name.removesuffix("."), one.type) in mail_questions(facts.domain)]:
        yield _block("BYO-OLD-UNSEEN", f"{seen}, {_listed(mail)} among them: mail may depend on it", remedy)
    else:
        yield _acknowledge("BYO-OLD-UNSEEN", seen, remedy)


def _kind(one: Unseen) -> str:
    if one.type == "MX" or one.name.partition(".")[0] in _MAIL_LABELS or "._domainkey." in one.name:
        return "mail"
    return {"TXT": "texts", "SRV": "services"}.get(one.type, "addresses")


_IMPORT = "list them in the commit's `import`, or acknowledge that they will be gone"
_MAIL_LABELS = ("_dmarc", "autodiscover", "autoconfig", "_mta-sts", "mta-sts")


def _is_mail(facts: Facts, one: RRset) -> bool:
    label = one.name.removesuffix(facts.apex).rstrip(".")
    if one.type == "MX":
        return any(content.split()[1:] != ["."] for content in one.contents)  # RFC 7505: a null MX is no mail
    policy = one.type == "TXT" and one.name == facts.apex and any("v=spf1" in text.lower() for text in one.contents)
    host = one.type in {*ADDRESS_TYPES, "CNAME"} and one.name in facts.mail_hosts
    return policy or host or one.type == "SRV" or label in _MAIL_LABELS or "_domainkey" in label


def _mail(facts: Facts) -> Iterable[Finding]:
    if found := [one for one in facts.lost() if _is_mail(facts, one)]:
        yield _acknowledge("BYO-OLD-MAIL", f"mail depends on {_listed(found)}", _IMPORT)


def _web(facts: Facts) -> Iterable[Finding]:
    found = [
        one for one in facts.lost() if one.type in {*ADDRESS_TYPES, "CNAME", "HTTPS"} and not _is_mail(facts, one)
        and "_acme-challenge" not in one.name
    ]  # fmt: skip
    if found:
        replaced = [one for one in found if one.name in canonical_names(facts.apex)]
        remedy = f"{len(replaced)} of them stand where the platform's own addresses will be; {_IMPORT}"
        yield _acknowledge("BYO-OLD-WEB", f"something is served at {_listed(found)}", remedy if replaced else _IMPORT)


def _delegated(facts: Facts) -> Iterable[Finding]:
    found = [one for one in facts.lost() if one.type == "NS" and one.name != facts.apex]
    if found:
        yield _acknowledge("BYO-OLD-DELEG", f"delegated further: {_listed(found)}", _IMPORT)
    elif facts.old is not None and facts.old.wildcard and f"*.{facts.apex}" not in {n for n, _ in facts.imported}:
        yield _acknowledge(
            "BYO-OLD-DELEG", "the current zone has a wildcard: it answers for names that nobody can list",
            "tell the platform of those that are in use, or acknowledge that they will be gone",
        )  # fmt: skip


def _texts(facts: Facts) -> Iterable[Finding]:
    found = [one for one in facts.lost() if one.type in {"TXT", "CNAME"} and not _is_mail(facts, one)]
    acme = [one for one in found if "_acme-challenge" in one.name]
    if texts := [one for one in found if one.type == "TXT" and one not in acme]:
        yield _acknowledge("BYO-OLD-TXT", f"others may rely on {_listed(texts)}", _IMPORT)
    if acme:
        yield _warn("BYO-OLD-TXT", f"certificates may depend on {_listed(acme)}", _IMPORT)


def _caa(facts: Facts) -> Iterable[Finding]:
    found = [one for one in (facts.old.rrsets if facts.old else ()) if one.type == "CAA" and one.name == facts.apex]
    if found and not allows(found[0], facts.acme_issuers) and (facts.apex, "CAA") not in facts.imported:
        yield _acknowledge(
            "BYO-CAA", f"the CAA of {facts.domain} does not allow the platform's CA ({', '.join(facts.acme_issuers)})",
            "import it: the platform's CA is added; or acknowledge that it will be gone (RFC 8659)",
        )  # fmt: skip


def allows(caa: RRset, issuers: Collection[str]) -> bool:
    """Return whether a CAA RRset lets one of the issuers issue (RFC 8659 section 4.2)."""
    issue = [words[2].strip('"') for content in caa.contents if (words := content.split(None, 2))[1].lower() == "issue"]
    return not issue or any(value.partition(";")[0].strip().lower() in issuers for value in issue)


# --- how long it takes --------------------------------------------------------------------------------


def _ttl(facts: Facts) -> Iterable[Finding]:
    ttls = [view.ns_ttl or 0 for view in facts.answered] + [view.ns_ttl or 0 for view in facts.observation.others]
    if max(ttls, default=0) > _LONG_TTL:
        yield _info(
            "BYO-TTL", f"caches may keep the current nameservers for {max(ttls)} s",
            "lower the TTL of the zone's NS first, or wait that long",
        )  # fmt: skip


def _transfer(facts: Facts) -> Iterable[Finding]:
    if facts.transferable:
        yield _info(
            "BYO-AXFR",
            "the current nameservers let anybody transfer the whole zone",
            "import from that transfer: it is complete",
        )


# --- our side -----------------------------------------------------------------------------------------


def _number(facts: Facts) -> Iterable[Finding]:
    views = facts.prepared or facts.observation.servers
    addresses = {view.address for view in views if view.address}
    if not MIN_NAMESERVERS <= len(facts.nameservers) <= MAX_NAMESERVERS:
        yield _block(
            "BYO-NSMIN", f"the platform has {len(facts.nameservers)} nameservers; registries take 2 to 13", _OPERATOR
        )
    elif facts.prepared and len(addresses) < MIN_NAMESERVERS:
        yield _block("BYO-NSMIN", "the platform's nameservers have fewer than two addresses", _OPERATOR)


_OPERATOR = "only the platform's operators can fix this"


def _our_servers(facts: Facts) -> Iterable[Finding]:
    wrong = [
        f"{view.name} ({view.address}): {view.state}" for view in facts.prepared
        if view.state != "serving" or not (view.udp and view.tcp and view.edns) or view.nameservers != facts.nameservers
    ]  # fmt: skip
    if wrong:
        yield _block("BYO-OURNS", f"not ready for this zone: {', '.join(wrong)}", _OPERATOR)
    elif len({view.serial for view in facts.prepared}) > 1:
        yield _block("BYO-OURNS", "the platform's nameservers have different versions of the zone", _OPERATOR)


def _our_zone(facts: Facts) -> Iterable[Finding]:
    if facts.missing or facts.signed is False:
        what = f"lacks {', '.join(facts.missing[:10])}" if facts.missing else "is not signed"
        yield _block("BYO-OURZONE", f"the prepared zone {what}", _OPERATOR)


# --- the registrar ------------------------------------------------------------------------------------


def _scope(facts: Facts) -> Iterable[Finding]:
    if facts.obstacle:
        yield _block("BYO-API-SCOPE", facts.obstacle, "fix this at the registrar, or use byo-manual")
    elif facts.flips and facts.may_set is None:
        yield _warn("BYO-API-SCOPE", "only a change can show whether the token may change nameservers", "go on")


def _noop(facts: Facts) -> Iterable[Finding]:
    registered = facts.registered_nameservers
    if registered is None:
        return
    if registered == facts.nameservers:
        yield _info("BYO-API-NOOP", "the registrar has the platform's nameservers on record already", "nothing to do")
    if not facts.delegated_to or set(registered) == set(facts.delegated_to):
        return
    if facts.ours and registered == facts.nameservers:
        return  # our own change, which the parent zone does not show yet
    yield _block(
        "BYO-REGISTRAR-DIFFERS",
        f"the registrar has {', '.join(registered)} on record, but the parent zone names "
        f"{', '.join(facts.delegated_to)}: this account may not be the one that controls the domain",
        "wait if you have just changed them; else use a token of the registrar that has the domain",
    )


_CHECKS: tuple[Callable[[Facts], Iterable[Finding]], ...] = (
    _name, _not_apex, _claimed, _below, _lame_claim, _unregistered, _hold, _lock, _parent_split, _ds, _ds_recent, _cds,
    _unseen, _mail, _web, _delegated, _texts, _caa, _ttl, _transfer, _number, _our_servers, _our_zone, _scope, _noop,
)  # fmt: skip


def _listed(rrsets: Iterable[RRset | Unseen]) -> str:
    found = [f"{one.name.removesuffix('.')} {one.type}" for one in rrsets]
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")


def _block(code: str, seen: str, remedy: str) -> Finding:
    return Finding(code=code, severity="block", seen=seen, remedy=remedy)


def _acknowledge(code: str, seen: str, remedy: str) -> Finding:
    return Finding(code=code, severity="acknowledge", seen=seen, remedy=remedy)


def _warn(code: str, seen: str, remedy: str) -> Finding:
    return Finding(code=code, severity="warn", seen=seen, remedy=remedy)


def _info(code: str, seen: str, remedy: str) -> Finding:
    return Finding(code=code, severity="info", seen=seen, remedy=remedy)
