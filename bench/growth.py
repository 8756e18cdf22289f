"""Latency of a commit in a parent zone with many delegations against one with ten."""

from collections.abc import Iterator
from statistics import median

import httpx
import uvloop

from bench.measure import Effort, Line, progress
from bench.publish import Caller, timed
from bench.stack import Stack, execute

_SMALL, _BIG = "small.test", "big.test"
_FEW = 10
_AT_A_TIME = 1000
_ELSEWHERE = ["ns1.elsewhere.test.", "ns2.elsewhere.test."]
"""Delegations to the platform without an allocation would be removed as strays."""


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Return one line."""
    database_url = stack.database()
    # Both pools are one service's, so that both sides alternate in one process.
    with stack.service(database_url, _SMALL, _BIG).running() as service:
        progress(f"growth: service {service.pid}; {effort.delegations} delegations into {_BIG}")
        _fill(stack, _SMALL, _FEW)
        _fill(stack, _BIG, effort.delegations)
        execute(stack.pdns_dsn, "ANALYZE")
        return uvloop.run(_measure(effort, service.url))


def _fill(stack: Stack, pool: str, count: int) -> None:
    base = f"{stack.powerdns.api_url}/api/v1/servers/localhost/zones/{pool}."
    with httpx.Client(headers={"X-API-Key": stack.powerdns.api_key}, timeout=60, trust_env=False) as client:
        while client.get(f"{base}?rrset_name={pool}.").status_code != 200:
            pass  # the service makes it after its start
        for first in range(0, count, _AT_A_TIME):
            numbers = range(first, min(first + _AT_A_TIME, count))
            rrsets = [rrset for number in numbers for rrset in _delegation(f"d{number}.{pool}.")]
            client.patch(base, json={"rrsets": rrsets}).raise_for_status()


def _delegation(name: str) -> Iterator[dict[str, object]]:
    for rtype, contents in (("NS", _ELSEWHERE), ("DS", [f"12345 13 2 {'ab' * 32}"])):
        records = [{"content": content, "disabled": False} for content in contents]
        yield {"name": name, "type": rtype, "ttl": 300, "changetype": "REPLACE", "records": records}


async def _measure(effort: Effort, url: str) -> list[Line]:
    caller = Caller(url)
    times: dict[str, list[float]] = {_SMALL: [], _BIG: []}
    for run in range(-1, effort.runs):
        progress(f"growth: run {run + 1} of {effort.runs}")
        labels = [f"t{run + 1}-{i}" for i in range(effort.pairs if run >= 0 else 5)]
        tokens = await caller.reserve([f"{label}.{pool}" for label in labels for pool in times])
        found: dict[str, list[float]] = {_SMALL: [], _BIG: []}
        for label in labels:
            for pool, values in found.items():
                fqdn = f"{label}.{pool}"
                values.append(await timed(caller.commit(fqdn, tokens[fqdn])))
        for fqdn in tokens:
            await caller.release(fqdn)
        for pool, values in times.items() if run >= 0 else ():
            values.append(median(found[pool]))
    note = f"bare: a parent with {_FEW}; {caller.late} commits or releases answered before DNS had them"
    what = f"commit, {effort.delegations:,} delegations"
    return [Line(what=what, unit="ms", ours=times[_BIG], bare=times[_SMALL], bound=1.5, note=note)]
