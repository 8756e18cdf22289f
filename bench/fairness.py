"""What a client's commit takes while another client has claims on very many domains whose nameservers are silent."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx

from bench.measure import Effort, Line, progress
from bench.stack import Stack
from tests.flood import ADDRESSES, HOSTS, callers, client, settings, silent
from tests.tree import OLD_NAMES, TLD, Tree, Zones, rr


def measure(stack: Stack, effort: Effort) -> list[Line]:
    """Commit domains of one client, in turns without and with the other's flood."""
    tree = Tree(stack.directory, stack.postgres)
    try:
        tree.start()
        with silent(tree) as names:
            took = [_run(stack, tree, names, effort, run) for run in range(min(3, effort.runs))]
    finally:
        tree.stop()
    note = f"{effort.flooded} claims of another client on domains with {HOSTS * ADDRESSES} addresses that never answer"
    return [
        Line(
            what="commit of a customer's domain beside a flood",
            unit="ms",
            ours=[flooded for _, flooded in took],
            bare=[alone for alone, _ in took],
            bound=1.5,
            note=note,
        )
    ]


def _run(stack: Stack, tree: Tree, names: list[str], effort: Effort, run: int) -> tuple[float, float]:
    """Return how long a commit takes alone, and beside the flood, in ms."""
    progress(f"fairness: run {run + 1}")
    powerdns = {"PDM_PDNS_BASE_URL": tree.ours.api_url, "PDM_PDNS_API_KEY": tree.ours.api_key}
    pool = f"f{uuid.uuid4().hex[:6]}.test"
    program = stack.service(stack.database(), pool, **settings(tree), **powerdns, **callers(stack.directory))
    with program.running(), client(program.url, "other") as other, client(program.url, "flood") as flood:
        alone = [_commit(tree, other) for _ in range(effort.pairs)]
        domains = [f"f{number}-{uuid.uuid4().hex[:6]}.{TLD}" for number in range(effort.flooded)]
        for server in tree.tlds:
            Zones(server).patch(TLD, [rr(one, "NS", *(f"{name}." for name in names)) for one in domains])
        for one in domains:
            flood.post("/v1/reserve", json={"mode": "byo-manual", "domain": one}).raise_for_status()
        time.sleep(min(effort.window, 3.0))
        # Its background looks go on by themselves; callers of its own wait for looks as well.
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(flood.get, f"/v1/delegations/{one}?fresh=true") for one in domains]
            beside = [_commit(tree, other) for _ in range(effort.pairs)]
            for unasked in asked:
                unasked.cancel()
    return sorted(alone)[len(alone) // 2], sorted(beside)[len(beside) // 2]


def _commit(tree: Tree, other: httpx.Client) -> float:
    """Return how long it takes to commit a domain whose TXT record is there, in ms."""
    domain = f"c{uuid.uuid4().hex[:10]}.{TLD}"
    tree.old_zone(domain, rr(domain, "A", "192.0.2.1"))
    tree.delegate(domain, OLD_NAMES)
    held = other.post("/v1/reserve", json={"mode": "byo-manual", "domain": domain}).raise_for_status().json()
    challenge = held["challenge"]
    tree.old_patch(domain, rr(challenge["name"], "TXT", f'"{challenge["value"]}"'))
    order = {"fqdn": domain, "reservationToken": held["reservationToken"], "loadBalancerIP": "192.0.2.7"}
    began = time.perf_counter()
    reply = other.post("/v1/commit", json=order)
    took = 1000 * (time.perf_counter() - began)
    if reply.status_code != httpx.codes.OK:
        raise RuntimeError(f"a commit is answered by {reply.status_code} after {took:.0f} ms: {reply.text}")
    return took
