"""Commit and release against the bare PowerDNS calls that they need, one by one and 32 at once.

The bare calls carry the same bodies, by the same HTTP client, from the same process as the callers of
the service. At 32 the service is held against the best that PowerDNS does for anyone: 8 callers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from time import perf_counter

import httpx
import uvloop

from bench.measure import Effort, Line, progress
from bench.stack import ADDRESS, NAMESERVERS, Stack
from pdm_service.dev.servers import PowerDNS
from pdm_service.model import zone
from pdm_service.model.records import RRset
from pdm_service.powerdns import _change, _words

_POOL = "publish.test"
_AT_ONCE = 32
_BARE_CALLERS = 8


class Caller:
    """A caller of the service."""

    def __init__(self, url: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)
        self.late = 0
        """Answers that came before DNS had the name."""

    async def reserve(self, fqdns: Sequence[str]) -> dict[str, str]:
        """Reserve names; return their tokens."""
        tokens = {}

        async def one(fqdn: str) -> None:
            label, _, pool = fqdn.partition(".")
            reply = await self.client.post("/v1/reserve", json={"poolDomain": pool, "subdomain": label})
            tokens[fqdn] = reply.raise_for_status().json()["reservationToken"]

        await at_once(fqdns, 8, one)
        return tokens

    async def commit(self, fqdn: str, token: str) -> None:
        """Commit a reserved name."""
        body = {"fqdn": fqdn, "reservationToken": token, "loadBalancerIP": ADDRESS}
        reply = await self.client.post("/v1/commit", json=body)
        self.late += reply.raise_for_status().status_code != 200

    async def release(self, fqdn: str) -> None:
        """Release a committed name."""
        reply = await self.client.post("/v1/release", json={"fqdn": fqdn})
        self.late += reply.raise_for_status().status_code != 200

    async def metrics(self) -> dict[str, float]:
        """Return the service's metrics by name with labels."""
        text = (await self.client.get("/metrics")).raise_for_status().text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


class Bare:
    """The calls of PowerDNS that a commit and a release need, and nothing else."""

    def __init__(self, powerdns: PowerDNS, pool: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{powerdns.api_url}/api/v1/servers/localhost",
            headers={"X-API-Key": powerdns.api_key},
            timeout=30,
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        )
        self._pool = f"{pool}."
        self._waiting: list[tuple[Sequence[RRset], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def create(self, fqdn: str) -> tuple[RRset, ...]:
        """Create a child zone; return its delegation."""
        name = f"{fqdn}."
        hosts = tuple(f"{host}." for host in NAMESERVERS)
        rrsets = [zone.soa(name, hosts[0]), RRset(name=name, type="NS", ttl=zone.TTL_SECONDS, contents=hosts)]
        rrsets += [
            RRset(name=one, type="A", ttl=zone.TTL_SECONDS, contents=(ADDRESS,)) for one in zone.canonical_names(name)
        ]
        body = {
            "name": name,
            "kind": "Native",
            "dnssec": True,
            "nameservers": [],
            "rrsets": [_words(rrset) for rrset in rrsets],
            **zone.CHILD_SETTINGS,
            "account": zone.OWNER_PREFIX + "0" * 32,
        }
        (await self._client.post("/zones?rrsets=false", json=body)).raise_for_status()
        keys = (await self._client.get(f"/zones/{name}/cryptokeys")).raise_for_status().json()
        ds = tuple(ds for key in keys for ds in key["ds"] if ds.split()[2] == "2")
        return zone.delegation(fqdn, NAMESERVERS, ds)

    async def write(self, rrsets: Sequence[RRset]) -> None:
        """Change the parent in a PATCH of one's own."""
        body = {"rrsets": [_change(rrset) for rrset in rrsets]}
        (await self._client.patch(f"/zones/{self._pool}", json=body)).raise_for_status()

    async def gather(self, rrsets: Sequence[RRset]) -> None:
        """Change the parent in one PATCH with all who wait while the one before is in flight."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((rrsets, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self.write([rrset for rrsets, _ in batch for rrset in rrsets])
            for _, done in batch:
                done.set_result(None)

    async def delete(self, fqdn: str) -> None:
        """Delete a child zone."""
        (await self._client.delete(f"/zones/{fqdn}.")).raise_for_status()

    async def commit(self, fqdn: str) -> None:
        """All calls of a commit, one after the other."""
        await self.write(await self.create(fqdn))

    async def commit_gathered(self, fqdn: str) -> None:
        """All calls of a commit, the parent's change together with others'."""
        await self.gather(await self.create(fqdn))

    async def release(self, fqdn: str) -> None:
        """All calls of a release, one after the other."""
        await self.write(zone.delegation(fqdn, (), ()))
        await self.delete(fqdn)

    async def release_gathered(self, fqdn: str) -> None:
        """All calls of a release, the parent's change together with others'."""
        await self.gather(zone.delegation(fqdn, (), ()))
        await self.delete(fqdn)


async def timed(work: Awaitable[object]) -> float:
    """Return the milliseconds that it takes."""
    start = perf_counter()
    await work
    return (perf_counter() - start) * 1000


async def at_once(fqdns: Sequence[str], callers: int, call: Callable[[str], Awaitable[None]]) -> float:
    """Have so many callers work through the names; return the milliseconds for each name."""
    left = list(fqdns)

    async def caller() -> None:
        while left:
            await call(left.pop())

    start = perf_counter()
    await asyncio.gather(*(caller() for _ in range(min(callers, len(left)))))
    return (perf_counter() - start) * 1000 / len(fqdns)


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Return the lines of commit and release."""
    with stack.service(stack.database(), _POOL).running() as service:
        progress(f"publish: service {service.pid}, pdns {stack.powerdns.pid}")
        return uvloop.run(_measure(stack, effort, service.url))


async def _measure(stack: Stack, effort: Effort, url: str) -> list[Line]:
    caller, bare = Caller(url), Bare(stack.powerdns, _POOL)
    await asyncio.sleep(1)  # the pool zone is made after the start
    return [*await _in_turn(caller, bare, effort), *await _in_bursts(caller, bare, effort)]


async def _in_turn(caller: Caller, bare: Bare, effort: Effort) -> list[Line]:
    times: dict[str, list[float]] = {"commit": [], "bare commit": [], "release": [], "bare release": []}
    caller.late = 0
    for run in range(-1, effort.runs):
        progress(f"publish: one after the other, run {run + 1} of {effort.runs}")
        fqdns = [f"t{run + 1}-{i}.{_POOL}" for i in range(effort.pairs if run >= 0 else 5)]
        tokens = await caller.reserve(fqdns)
        found: dict[str, list[float]] = {what: [] for what in times}
        for fqdn in fqdns:
            found["commit"].append(await timed(caller.commit(fqdn, tokens[fqdn])))
            found["bare commit"].append(await timed(bare.commit(f"bare-{fqdn}")))
        for fqdn in fqdns:
            found["release"].append(await timed(caller.release(fqdn)))
            found["bare release"].append(await timed(bare.release(f"bare-{fqdn}")))
        for what, values in times.items() if run >= 0 else ():
            values.append(median(found[what]))
    note = f"median of {effort.pairs} a run; {caller.late} answered before DNS had them"
    return [
        Line(
            what=f"{verb}, one by one", unit="ms", ours=times[verb], bare=times[f"bare {verb}"], bound=bound,
            note=note,
        )
        for verb, bound in (("commit", 1.3), ("release", 2.0))
    ]  # fmt: skip


async def _in_bursts(caller: Caller, bare: Bare, effort: Effort) -> list[Line]:
    names: dict[str, list[float]] = {what: [] for what in ("commit", "own", "gathered", "release", "bare release")}
    caller.late = 0
    before: dict[str, float] = {}
    for run in range(-1, effort.runs):
        progress(f"publish: {_AT_ONCE} at once, run {run + 1} of {effort.runs}")
        fqdns = [f"b{run + 1}-{i}.{_POOL}" for i in range(effort.burst if run >= 0 else _AT_ONCE)]
        tokens = await caller.reserve(fqdns)
        if run == 0:
            before = await caller.metrics()
        found: dict[str, float] = {}

        async def commit(fqdn: str, tokens: dict[str, str] = tokens) -> None:
            await caller.commit(fqdn, tokens[fqdn])

        async def ours(fqdns: list[str] = fqdns, found: dict[str, float] = found) -> None:
            found["commit"] = await at_once(fqdns, _AT_ONCE, commit)

        async def own(fqdns: list[str] = fqdns, found: dict[str, float] = found) -> None:
            found["own"] = await at_once([f"o-{fqdn}" for fqdn in fqdns], _BARE_CALLERS, bare.commit)

        async def gathered(fqdns: list[str] = fqdns, found: dict[str, float] = found) -> None:
            found["gathered"] = await at_once([f"g-{fqdn}" for fqdn in fqdns], _BARE_CALLERS, bare.commit_gathered)

        for side in (ours, own, gathered)[:: 1 if run % 2 else -1]:
            await side()
        found["release"] = await at_once(fqdns, _AT_ONCE, caller.release)
        found["bare release"] = await at_once([f"g-{fqdn}" for fqdn in fqdns], _BARE_CALLERS, bare.release_gathered)
        for what, values in names.items() if run >= 0 else ():
            values.append(found[what])
    after = await caller.metrics()
    calls = {name: value - before.get(name, 0) for name, value in after.items()}
    rates = {what: [1000 / value for value in values] for what, values in names.items()}
    ceiling = [max(pair) for pair in zip(rates["own"], rates["gathered"], strict=True)]
    note = (
        f"bare: 8 callers with a PATCH each {median(rates['own']):.1f} /s, gathered {median(rates['gathered']):.1f} /s;"
        f" {_failed(calls)}; {_batches(calls)}; {caller.late} answered before DNS had them"
    )
    return [
        Line(
            what=f"commit, {_AT_ONCE} at once", unit="/s", ours=rates["commit"], bare=ceiling, bound=0.8, at_least=True,
            note=note,
        ),
        Line(
            what=f"release, {_AT_ONCE} at once", unit="ms", ours=names["release"], bare=names["bare release"],
            bound=2.0, note="time of a burst by its names; bare: 8 callers, gathered",
        ),
    ]  # fmt: skip


def _failed(calls: dict[str, float]) -> str:
    total = sum(value for name, value in calls.items() if name.startswith("pdm_powerdns_calls_total"))
    failed = {
        name.removeprefix("pdm_powerdns_calls_total"): int(value)
        for name, value in calls.items()
        if name.startswith("pdm_powerdns_calls_total") and 'outcome="ok"' not in name and value
    }
    return f"{total:.0f} calls of PowerDNS by the service, {failed or 'none'} failed"


def _batches(calls: dict[str, float]) -> str:
    count, names = calls["pdm_parent_batch_size_count"], calls["pdm_parent_batch_size_sum"]
    return f"{count:.0f} batches of {names / max(1, count):.1f} names on average"
