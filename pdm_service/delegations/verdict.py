"""How far a delegation has come: the verdict on what was collected. Pure.

`judge` is a function of an Observation, of what was remembered of earlier ones, and of the moment. It makes the
Report that callers get, and the Memory for the next round.

    awaiting-customer → partial (k of n parent servers) → delegated → converging → live
    blocked   something has to be fixed first; the problems say what
    moved     it was delegated to the platform, and is not any more
    left      the same, after a rollback: it was asked for
    stalled   nothing has come for 28 days
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from pdm_service.findings import Finding
from pdm_service.model.observation import Dnssec, Memory, Observation, ParentView, Phase, Report, ServerView

MAX_TTL = timedelta(hours=48)
"""No cache that matters keeps a delegation longer."""
_FAILURE_CACHED = timedelta(minutes=5)
"""How long resolvers remember a failure (RFC 9520 section 3.2)."""
_STALLED = timedelta(days=28)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


def judge(
    seen: Observation, wanted: tuple[str, ...], memory: Memory, taken_back_at: datetime | None = None
) -> tuple[Report, Memory]:
    """Return the verdict on one round, and what to remember of it; `taken_back_at` is when a rollback was asked for."""
    answered = [view for view in seen.parents if view.usable]
    exact = [view for view in answered if view.nameservers == wanted]
    named = {name for view in answered for name in view.nameservers}
    ours = bool(named & set(wanted))
    left = not ours and _taken_back(memory, taken_back_at)
    dnssec = _dnssec(seen, answered, ours=ours)
    problems = (*_of_parents(seen, answered, wanted, dnssec, ours=ours, left=left), *_of_servers(seen, wanted))
    serving = [view for view in seen.servers if view.state == "serving"]
    after = _remembered(seen, answered, exact, memory, ours=ours, failing=ours and (dnssec == "bogus" or not serving))
    phase = _phase(answered, exact, problems, after, seen, ours=ours, left=left)
    after = msgspec.structs.replace(
        after, phase=phase, changed_at=memory.changed_at if phase == memory.phase else seen.at
    )
    report = Report(
        domain=seen.domain,
        phase=phase,
        dnssec=dnssec,
        ds=_ds(answered),
        parent=seen.parent,
        nameservers=wanted,
        missing=tuple(sorted(set(wanted) - _common(answered))),
        extra=tuple(sorted(named - set(wanted))),
        parents_ok=len(exact),
        parents_total=len(seen.parents),
        servers_ok=sum(_in_order(view) for view in seen.servers),
        servers_total=len(seen.servers),
        parents=seen.parents,
        servers=seen.servers,
        others=seen.others,
        problems=problems,
        checked_at=seen.at,
        converged_by=after.converged_by if phase in {"delegated", "converging", "live"} else None,
        complete=seen.complete,
        queries=seen.queries,
    )
    return report, after


def _phase(
    answered: list[ParentView], exact: list[ParentView], problems: Iterable[Finding], memory: Memory, seen: Observation,
    *, ours: bool, left: bool,
) -> Phase:  # fmt: skip
    if not answered:
        return memory.phase
    if any(problem.severity == "block" for problem in problems):
        return "blocked"
    if len(exact) == len(answered):
        converged = memory.converged_by is not None and seen.at >= memory.converged_by
        served = all(view.state == "serving" for view in seen.servers)
        return "delegated" if not served else "live" if converged else "converging"
    if left:
        return "left"
    if ours or memory.delegated_at is not None:
        return "partial" if ours else "moved"
    return "stalled" if seen.at - memory.since >= _STALLED else "awaiting-customer"


def _taken_back(memory: Memory, at: datetime | None) -> bool:
    """Return whether a rollback was asked for, and the domain has not come here again since it left."""
    return at is not None and (memory.back_at is None or memory.back_at < at)


def _remembered(
    seen: Observation, answered: list[ParentView], exact: list[ParentView], memory: Memory, *, ours: bool, failing: bool
) -> Memory:
    """Return the memory with the times and TTLs of this round; the phase follows from it."""
    if not answered:
        return memory
    ttls = [view.ns_ttl or 0 for view in answered if not set(view.nameservers) <= {one.name for one in seen.servers}]
    ttls += [view.ns_ttl or 0 for view in seen.others] + [view.ds_ttl or 0 for view in answered]
    new: dict[str, object] = {
        "parent_ttl": max([view.ns_ttl or 0 for view in answered], default=0) or memory.parent_ttl
    }
    if any(view.ds for view in answered):
        new |= {"ds_seen_at": seen.at, "ds_ttl": max(view.ds_ttl or 0 for view in answered)}
    matching = {one for view in seen.servers for one in view.signing_ds}
    if ours and memory.left_at is not None:
        new["back_at"] = seen.at
    all_ours = bool(exact) and all(view.ds and set(view.ds) & matching for view in answered)
    new["our_ds_at"] = (memory.our_ds_at or seen.at) if all_ours else None
    if len(exact) == len(answered):
        # Also where it came back server by server: since it left, caches were told something else.
        anew = memory.left_at or (memory.back_at and memory.delegated_at and memory.delegated_at < memory.back_at)
        delegated_at = seen.at if anew else memory.delegated_at or seen.at
        old = min(timedelta(seconds=memory.old_ttl or max(view.ns_ttl or 0 for view in answered)), MAX_TTL)
        by = delegated_at + old
        if memory.converged_by is not None:
            by = max(by, memory.converged_by)
        new |= {"delegated_at": delegated_at, "here_at": seen.at, "left_at": None, "drained_by": None}
        return msgspec.structs.replace(
            memory, **new, converged_by=max(by, seen.at + _FAILURE_CACHED) if failing else by
        )
    if ours:
        new |= {"here_at": seen.at, "old_ttl": max([memory.old_ttl, *ttls]), "left_at": None, "drained_by": None}
        return msgspec.structs.replace(memory, **new)
    new |= {"elsewhere_at": seen.at, "old_ttl": max([0, *ttls]), "converged_by": None}
    if memory.here_at is not None and memory.left_at is None:
        held = timedelta(seconds=max(memory.parent_ttl, *(view.ns_ttl or 0 for view in seen.servers), memory.ds_ttl))
        new |= {"left_at": seen.at, "drained_by": seen.at + min(held, MAX_TTL)}
    return msgspec.structs.replace(memory, **new)


# --- problems -----------------------------------------------------------------------------------------


def _of_parents(
    seen: Observation,
    answered: list[ParentView],
    wanted: tuple[str, ...],
    dnssec: Dnssec,
    *,
    ours: bool,
    left: bool,
) -> list[Finding]:
    found: list[Finding] = []
    if not answered:
        why = seen.error or "no nameserver of the parent zone answers"
        return [_warn("parent-unreachable", why, "nothing to do but wait; the service asks again")]
    found += [
        _warn("parent-server-silent", f"{_at(view)} of the parent zone gives no usable answer ({view.state})",
              "nothing to do; the service asks again")
        for view in seen.parents if view not in answered
    ]  # fmt: skip
    if all(view.state == "nxdomain" for view in answered):
        found.append(_block("not-registered", f"{seen.domain} does not exist in its parent zone", "register it first"))
    elif not any(view.nameservers for view in answered):
        found.append(
            _warn("not-delegated", f"{seen.domain} has no nameservers in its parent zone", _paste(wanted))
        )  # fmt: skip
    elif len({(view.nameservers, view.ds) for view in answered}) > 1:
        found.append(
            _warn("parent-servers-differ", "the nameservers of the parent zone do not agree yet",
                  "wait: the registry is publishing a change")
        )  # fmt: skip
    if ours and (missing := set(wanted) - _common(answered)) and all(view.nameservers != wanted for view in answered):
        found.append(_warn("nameservers-missing", f"the delegation lacks {_list(missing)}", _paste(wanted)))
    if ours and (extra := {name for view in answered for name in view.nameservers} - set(wanted)):
        found.append(
            _warn("nameservers-extra", f"the delegation also names {_list(extra)}, which serve another zone",
                  _paste(wanted))
        )  # fmt: skip
    if dnssec == "bogus":
        found.append(
            _block("ds-mismatch", f"no DS of {seen.domain} at its parent matches a key that its nameservers sign with: "
                   "validating resolvers refuse it",
                   "remove the DS at the registrar, and wait until its TTL has passed")
        )  # fmt: skip
    elif not ours and not left and any(view.ds for view in answered):
        found.append(
            _block("ds-present", f"{seen.domain} has a DS at its parent, which would make the platform's answers bogus",
                   "remove the DS at the registrar before the nameservers change, and wait until its TTL has passed")
        )  # fmt: skip
    return found


def _of_servers(seen: Observation, wanted: tuple[str, ...]) -> list[Finding]:
    found = [problem for view in seen.servers if (problem := _of_server(view, wanted)) is not None]
    serials = {view.serial for view in seen.servers if view.state == "serving"}
    if len(serials) > 1:
        found.append(
            _warn("serials-differ",
                  f"the platform's nameservers have different versions of the zone ({_list(serials)})",
                  "nothing to do: it ends by itself within seconds; if not, only the platform's operators can fix it")
        )  # fmt: skip
    return found


_STATES = {
    "refused": ("nameserver-lame", "refuses questions about the zone"),
    "not-serving": ("nameserver-not-authoritative", "answers, but not as an authoritative nameserver of the zone"),
    "upward": ("nameserver-upward", "refers upwards instead of answering"),
    "failed": ("nameserver-failing", "answers with a failure"),
    "silent": ("nameserver-silent", "does not answer"),
    "alias": ("nameserver-alias", "has a name that is an alias, which a nameserver's must not be"),
    "unresolved": ("nameserver-unresolved", "has a name without an address"),
    "unasked": ("nameserver-unasked", "was not asked"),
}


def _of_server(view: ServerView, wanted: tuple[str, ...]) -> Finding | None:
    theirs = "only the platform's operators can fix this; their own checks report it"
    if view.state in _STATES:
        code, what = _STATES[view.state]
        return _warn(code, f"{_at(view)} {what}", theirs)
    if not view.tcp:
        return _warn("nameserver-no-tcp", f"{_at(view)} does not answer by TCP (RFC 7766)", theirs)
    if not view.udp:
        return _warn("nameserver-no-udp", f"{_at(view)} does not answer by UDP", theirs)
    if not view.edns:
        return _warn("nameserver-no-edns", f"{_at(view)} does not understand EDNS (RFC 6891)", theirs)
    if view.nameservers != wanted:
        return _warn("apex-differs", f"{_at(view)} serves the zone with other NS: {_list(view.nameservers)}", theirs)
    return None


def _dnssec(seen: Observation, answered: list[ParentView], *, ours: bool) -> Dnssec:
    if not answered or any(view.ds is None for view in answered):
        return "unknown"
    sets = {view.ds for view in answered}
    if sets == {()}:
        return "insecure"
    serving = [view for view in (seen.servers if ours else seen.others) if view.state == "serving"]
    if not serving:
        return "unknown"
    if not all(set(ds or ()) & set(view.signing_ds) for ds in sets if ds for view in serving):
        return "bogus" if ours else "unknown"
    return "secure" if len(sets) == 1 else "changing"


def _in_order(view: ServerView) -> bool:
    return view.state == "serving" and bool(view.udp and view.tcp and view.edns)


def _common(answered: list[ParentView]) -> set[str]:
    return set.intersection(*(set(view.nameservers) for view in answered)) if answered else set()


def _ds(answered: list[ParentView]) -> tuple[str, ...]:
    return tuple(sorted({one for view in answered for one in view.ds or ()}))


def _block(code: str, seen: str, remedy: str) -> Finding:
    return Finding(code=code, severity="block", seen=seen, remedy=remedy)


def _warn(code: str, seen: str, remedy: str) -> Finding:
    return Finding(code=code, severity="warn", seen=seen, remedy=remedy)


def _paste(wanted: tuple[str, ...]) -> str:
    return f"set the nameservers at the registrar to exactly {_list(wanted)}"


def _at(view: ParentView | ServerView) -> str:
    return f"{view.name} ({view.address})" if view.address else view.name


def _list(words: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, words)))


def secure_from(memory: Memory) -> datetime | None:
    """Return from when on a DS may be published: one TTL of the parent's NS after all is live (RFC 6781 4.3.5)."""
    if memory.converged_by is None:
        return None
    return memory.converged_by + min(timedelta(seconds=memory.parent_ttl), MAX_TTL)


def outdated(report: Report, memory: Memory) -> datetime | None:
    """Return the moment before which a holder's proof counts no more against a strong one of now; None: it counts.

    The delegation has left since then, or in 28 days has not come.
    """
    if report.points_here or not any(view.usable for view in report.parents):
        return None
    never_came = report.checked_at - _STALLED
    return max(memory.left_at or never_came, never_came)


# --- the next observation ------------------------------------------------------------------------------------


def pause(memory: Memory, now: datetime, first: timedelta, taken_back_at: datetime | None = None) -> timedelta:
    """Return how long to wait before the next observation: four times `first`, then longer as nothing happens.

    Growing by 1.6 to twenty times `first` within the hour, then every quarter of an hour, after a day every hour,
    daily when all is done. A rollback begins that anew.
    """
    since = max(memory.changed_at, taken_back_at or memory.changed_at)
    done = memory.phase == "stalled" or (memory.phase == "live" and memory.our_ds_at is not None)
    if done and since == memory.changed_at:
        return _DAY
    age = now - since
    if age > _DAY:
        wait = _HOUR
    elif age > _HOUR:
        wait = timedelta(minutes=15)
    else:
        grown = 1.6 * first + 0.6 * (age - 4 * first)
        wait = first if age < 4 * first else min(grown, 20 * first)
    # What will happen at a known time is observed then.
    for moment in (memory.converged_by, secure_from(memory), memory.drained_by):
        if moment is not None and moment > now:
            wait = min(wait, max(moment - now, timedelta(seconds=1)))
    return wait
